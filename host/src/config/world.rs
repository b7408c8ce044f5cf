use engine::World;

use super::{ConfigError, Source, parsed};

/// The processes that train together, as torchrun and its like tell each of them; `None` where nothing does.
///
/// # Errors
/// Names the first variable that is missing or cannot be used.
pub(super) fn read(source: Source<'_>) -> Result<Option<World>, ConfigError> {
    let (Some(_), Some(_)) = (source("RANK"), source("WORLD_SIZE")) else {
        return Ok(None);
    };
    let number = |variable, default| {
        parsed(source, variable, default, "a whole number", |value| {
            value.parse().ok()
        })
    };
    let rank = number("RANK", 0)?;
    let size = number("WORLD_SIZE", 1)?;
    if rank >= size {
        return Err(ConfigError {
            variable: "RANK",
            value: rank.to_string(),
            message: format!("must be less than WORLD_SIZE, which is {size}"),
        });
    }
    let needed = |variable| {
        source(variable).ok_or_else(|| ConfigError {
            variable,
            value: String::new(),
            message: "must be set beside RANK and WORLD_SIZE, the same for all processes".into(),
        })
    };
    if size == 1 {
        return Ok(None);
    }
    let address = needed("MASTER_ADDR")?;
    needed("MASTER_PORT")?;
    let port = parsed(
        source,
        "MASTER_PORT",
        0,
        "a port between 1 and 65534",
        |value| {
            value
                .parse()
                .ok()
                .filter(|port| (1..u16::MAX).contains(port))
        },
    )?;
    // torchrun listens at this port itself where it says so; its processes then meet at the next one.
    let agent = source("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|value| value == "True");
    Ok(Some(World {
        rank,
        size,
        local_rank: number("LOCAL_RANK", rank)?,
        address,
        port: port + u16::from(agent),
        patience: World::PATIENCE,
    }))
}

#[cfg(test)]
mod tests {
    use engine::World;

    use super::read;

    const TORCHRUN: [(&str, &str); 5] = [
        ("RANK", "3"),
        ("WORLD_SIZE", "4"),
        ("LOCAL_RANK", "1"),
        ("MASTER_ADDR", "node0"),
        ("MASTER_PORT", "29500"),
    ];

    fn with(more: &[(&str, &str)], without: &str) -> Result<Option<World>, String> {
        let source = |name: &str| {
            let mut all = more.iter().chain(&TORCHRUN);
            let found = all.find(|(key, _)| *key == name && name != without);
            found.map(|(_, value)| (*value).to_owned())
        };
        read(&source).map_err(|error| error.to_string())
    }

    #[test]
    fn the_world_is_what_torchrun_says() {
        let world = with(&[], "").unwrap().unwrap();
        assert_eq!((world.rank, world.size, world.local_rank), (3, 4, 1));
        assert_eq!((&*world.address, world.port), ("node0", 29500));
        let agent = with(&[("TORCHELASTIC_USE_AGENT_STORE", "True")], "");
        assert_eq!(agent.unwrap().unwrap().port, 29501);
    }

    #[test]
    fn without_a_rank_or_with_one_process_there_is_no_world() {
        assert_eq!(with(&[], "RANK"), Ok(None));
        assert_eq!(with(&[], "WORLD_SIZE"), Ok(None));
        assert_eq!(
            with(&[("RANK", "0"), ("WORLD_SIZE", "1")], "MASTER_ADDR"),
            Ok(None)
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let error = with(&[], "MASTER_ADDR").unwrap_err();
        assert!(
            error.starts_with("MASTER_ADDR=\"\": must be set beside RANK"),
            "{error}"
        );
        let error = with(&[("RANK", "4")], "").unwrap_err();
        assert_eq!(
            error,
            "RANK=\"4\": must be less than WORLD_SIZE, which is 4"
        );
        let error = with(&[("MASTER_PORT", "http")], "").unwrap_err();
        assert!(
            error.starts_with("MASTER_PORT=\"http\": must be a port"),
            "{error}"
        );
    }
}
