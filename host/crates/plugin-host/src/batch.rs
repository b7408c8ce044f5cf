//! Many items for one instance: each has a call, fuel and a deadline of its own, and what one does to the plugin is that
//! item's outcome alone.

use domain::Judged;
use wasmtime::Store;

use crate::call::{CallState, Terms, call, rearm};
use crate::lent::secrets::{Said, Secrets, cut};
use crate::outcome::Failure;
use crate::runtime::Runtime;

/// Calls `one` for each item, in their order, on an instance that `start` makes; after a trap the next item gets a new
/// one. `note` hears of every success and failure. It must be called on a guest thread.
pub(crate) fn each<I, P, R: Said>(
    runtime: &Runtime,
    terms: &Terms,
    items: &[I],
    start: impl Fn(&mut Store<CallState>) -> wasmtime::Result<P>,
    one: impl Fn(&P, &mut Store<CallState>, &I) -> wasmtime::Result<Result<R, Failure>>,
    mut note: impl FnMut(Result<(), &Failure>),
) -> Vec<Judged<R>> {
    let mut outcomes = Vec::with_capacity(items.len());
    let mut take = |result: Result<R, Failure>, fuel| {
        note(result.as_ref().map(drop));
        outcomes.push(Judged {
            result: result.map_err(|mut failure| {
                cut(&mut failure.message);
                format!("{}: {}", failure.code, failure.message)
            }),
            fuel,
        });
    };
    let mut next = 0;
    while next < items.len() {
        let called = call(runtime, terms, |store| {
            let instance = start(store)?;
            while let Some(item) = items.get(next) {
                rearm(store, &terms.limits);
                let result = one(&instance, store, item)?;
                let result = match &store.data().lent {
                    Some(lent) => lent.secrets.clean(result),
                    None => Secrets::default().clean(result),
                };
                take(result, terms.limits.fuel - store.get_fuel().unwrap_or(0));
                next += 1;
            }
            Ok(Ok(()))
        });
        // Whatever ended the store early is the outcome of the item that was in it.
        let fuel = called.fuel;
        if let Err(failure) = called.finish(|(), _| Ok(())) {
            take(Err(failure), fuel);
            next += 1;
        }
    }
    outcomes
}
