//! Several processes whose devices add up gradients among themselves.

use super::*;
use crate::device::Seat;

/// What each of three processes makes of a run, by rank.
fn on_devices(
    folder: &Path,
    seats: Vec<Seat>,
) -> Vec<(Result<super::super::Report>, Vec<RunEvent>)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let size = seats.len();
    let start = |(rank, seat): (usize, Seat)| {
        let mut config = config("qwen2", folder, "cuda");
        config.train.output = folder.join("together").display().to_string();
        let options = TrainOptions {
            world: Some(World {
                rank,
                size,
                local_rank: 0,
                address: "127.0.0.1".into(),
                port,
                patience: World::PATIENCE,
            }),
            ..TrainOptions::default()
        };
        move || {
            plug(Some(Arc::new(Emulated::seated(seat))));
            let mut events = Vec::new();
            let result = trainer::run(&config, &options, &StopFlag::new(), &mut |event| {
                events.push(event)
            });
            plug(None);
            (result, events)
        }
    };
    // All is written before anyone reads it.
    let starts: Vec<_> = seats.into_iter().enumerate().map(start).collect();
    let threads: Vec<_> = starts.into_iter().map(std::thread::spawn).collect();
    let threads = threads.into_iter();
    threads.map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn devices_that_reach_each_other_add_up_by_themselves_and_train_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let expected = losses(&run(&config("qwen2", folder.path(), "cpu"), false, None).1);
    for (result, events) in on_devices(folder.path(), Seat::among(3)) {
        result.unwrap();
        assert!(
            !logged(&events, "gradients go over the network"),
            "{events:?}"
        );
        close(&losses(&events), &expected);
    }
}

#[test]
fn a_device_that_fails_while_all_meet_or_in_the_middle_of_a_run_ends_all_with_its_words() {
    // The call to join, and that of the second step.
    for call in [0, 2] {
        let folder = tempfile::tempdir().unwrap();
        let mut seats = Seat::among(3);
        let last = seats.pop().unwrap();
        seats.push(last.failing_at(call));
        let ended = on_devices(folder.path(), seats);
        for (rank, (result, events)) in ended.into_iter().enumerate() {
            let error = result.unwrap_err();
            let message = error.to_string();
            assert!(message.contains("its GPU fell off the bus"), "{message}");
            if rank < 2 {
                assert_eq!(error.code(), "peer_failed");
                let named = message.starts_with("process rank 2 of 3 failed, so this one ends too");
                assert!(named, "{message}");
            }
            let is_step = |event: &&RunEvent| matches!(event, RunEvent::Step { .. });
            assert_eq!(
                events.iter().filter(is_step).count(),
                call.saturating_sub(1)
            );
        }
    }
}
