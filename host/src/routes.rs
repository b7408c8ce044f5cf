//! Every URL, in one table.

use actix_web::{Route, guard, web};

use crate::{api, error, pages};

/// A method and a path of the table.
pub type Entry = (&'static str, &'static str);

macro_rules! routes {
    ($($method:ident $path:literal => $handler:path;)*) => {
        /// The table as data, for tests that go through all of it.
        pub const TABLE: &[Entry] = &[$((stringify!($method), $path)),*];

        /// Puts the table into an app.
        pub fn configure(app: &mut web::ServiceConfig) {
            $(app.route($path, $method().to($handler));)*
            app.default_service(web::to(error::no_such_page));
        }
    };
}

routes! {
    get "/" => pages::dashboard::show;
    get "/runs" => pages::runs::list;
    get "/runs/new" => pages::run_form::show;
    post "/runs/new" => pages::run_form::submit;
    post "/runs/preview" => pages::run_form::preview;
    post "/runs/sample" => pages::run_form::start_sample;
    get "/runs/{id}" => pages::run::show;
    get "/runs/{id}/config.toml" => pages::run::config;
    get "/runs/{id}/metrics.csv" => pages::run::csv;
    post "/runs/{id}/stop" => pages::run::stop;
    post "/runs/{id}/resume" => pages::run::resume;
    post "/runs/{id}/rename" => pages::run::rename;
    post "/runs/{id}/delete" => pages::run::delete;
    get "/compare" => pages::compare::show;
    get "/datasets" => pages::datasets::list;
    get "/datasets/curate" => pages::curation_form::show;
    post "/datasets/curate" => pages::curation_form::submit;
    get "/datasets/curations/{id}" => pages::curation::show;
    post "/datasets/curations/{id}/stop" => pages::curation::stop;
    post "/datasets/curations/{id}/resume" => pages::curation::resume;
    post "/datasets/curations/{id}/delete" => pages::curation::delete;
    get "/adapters" => pages::adapters::list;
    get "/exports" => pages::exports::list;
    post "/exports" => pages::exports::start;
    post "/exports/{id}/delete" => pages::exports::delete;
    get "/try" => pages::playground::show;
    post "/try" => pages::playground::generate;
    post "/try/stream" => pages::playground::stream;
    get "/plugins" => pages::plugins::list;
    get "/plugins/{name}" => pages::plugin::show;
    post "/plugins/{name}/run" => pages::plugin::run;
    post "/plugins/{name}/enable" => pages::plugin::enable;
    post "/plugins/{name}/disable" => pages::plugin::disable;
    post "/plugins/{name}/grant" => pages::plugin::grant;
    get "/tokenizers" => pages::tokenizers::show;
    post "/tokenizers" => pages::tokenizers::split;
    get "/docs" => pages::docs::index;
    get "/docs/{name}" => pages::docs::show;
    get "/settings" => pages::settings::show;
    get "/login" => pages::login::show;
    post "/login" => pages::login::enter;
    post "/logout" => pages::login::leave;
    get "/static/{path:.*}" => pages::assets::file;
    get "/favicon.ico" => pages::assets::favicon;

    get "/healthz" => api::health::live;
    get "/readyz" => api::health::ready;
    get "/metrics" => api::health::metrics;

    get "/api/openapi.json" => api::openapi::document;
    get "/api/v1/runs" => api::runs::list;
    post "/api/v1/runs" => api::runs::create;
    get "/api/v1/runs/{id}" => api::runs::get;
    patch "/api/v1/runs/{id}" => api::runs::rename;
    delete "/api/v1/runs/{id}" => api::runs::delete;
    post "/api/v1/runs/{id}/stop" => api::runs::stop;
    post "/api/v1/runs/{id}/resume" => api::runs::resume;
    get "/api/v1/runs/{id}/metrics" => api::metrics::series;
    get "/api/v1/runs/{id}/events" => api::events::follow;
    get "/api/v1/runs/{id}/checkpoints" => api::runs::checkpoints;
    get "/api/v1/plugins" => api::plugins::list;
    get "/api/v1/plugins/{name}" => api::plugins::get;
    post "/api/v1/plugins/{name}/run" => api::plugins::run;
    put "/api/v1/plugins/{name}/enabled" => api::plugins::set_enabled;
    put "/api/v1/plugins/{name}/grants" => api::plugins::set_grants;
    get "/api/v1/plugins/{name}/executions" => api::plugins::executions;
    get "/api/v1/models" => api::models::list;
    get "/api/v1/exports" => api::exports::list;
    post "/api/v1/exports" => api::exports::create;
    get "/api/v1/exports/{id}" => api::exports::get;
    delete "/api/v1/exports/{id}" => api::exports::delete;
    get "/api/v1/exports/{id}/archive" => api::exports::archive;
    get "/api/v1/exports/{id}/files/{name}" => api::exports::file;
    get "/api/v1/curations" => api::curations::list;
    post "/api/v1/curations" => api::curations::create;
    get "/api/v1/curations/{id}" => api::curations::get;
    delete "/api/v1/curations/{id}" => api::curations::delete;
    post "/api/v1/curations/{id}/stop" => api::curations::stop;
    post "/api/v1/curations/{id}/resume" => api::curations::resume;
    get "/api/v1/curations/{id}/report" => api::curations::report;
    get "/api/v1/curations/{id}/files/{name}" => api::curations::file;
    post "/api/v1/generate" => api::generate::create;
    post "/api/v1/tokenize" => api::tokenize::create;
    get "/api/v1/system" => api::system::get;
}

/// Answers HEAD too, which health checks use.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn post() -> Route {
    web::post()
}

fn put() -> Route {
    web::put()
}

fn patch() -> Route {
    web::patch()
}

fn delete() -> Route {
    web::delete()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::TABLE;

    #[test]
    fn no_route_stands_twice() {
        let unique: HashSet<_> = TABLE.iter().collect();
        assert_eq!(unique.len(), TABLE.len());
    }
}
