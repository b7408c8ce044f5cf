use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::*;

fn world(rank: usize, size: usize, port: u16) -> World {
    World {
        rank,
        size,
        local_rank: rank,
        address: "127.0.0.1".into(),
        port,
        patience: Duration::from_secs(30),
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What each process of a group makes of `f`, by rank. A process ends when `f` returns, so `f` is given all that it holds.
fn each<T: Send>(size: usize, f: impl Fn(Result<Arc<dyn Collective>>) -> T + Sync) -> Vec<T> {
    let port = free_port();
    std::thread::scope(|scope| {
        let f = &f;
        let start = move |rank| {
            scope.spawn(move || f(join(Some(&world(rank, size, port)), &StopFlag::new())))
        };
        // The first comes last: the others have to try again.
        let others: Vec<_> = (1..size).map(start).collect();
        std::thread::sleep(Duration::from_millis(120));
        let all = std::iter::once(start(0)).chain(others);
        all.map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn sums_are_made_in_the_order_of_ranks_and_are_the_same_everywhere() {
    let values = [1e8f32, 1.0, -1e8];
    let sums = each(3, |group| {
        let group = group.unwrap();
        let mut bucket = vec![values[group.rank()]; 100_000];
        group.sum_all(&mut bucket).unwrap();
        let mut numbers = [group.rank() as f64, 0.5];
        group.sum(&mut numbers).unwrap();
        (bucket, numbers)
    });
    let in_order = (values[0] + values[1]) + values[2];
    for (bucket, numbers) in sums {
        assert!(bucket.iter().all(|value| *value == in_order));
        assert_eq!(numbers, [3.0, 1.5]);
    }
}

#[test]
fn what_the_first_has_comes_to_all() {
    let told = each(3, |group| {
        let group = group.unwrap();
        let own = format!("from {}", group.rank());
        group.broadcast(own.into_bytes()).unwrap()
    });
    assert_eq!(told, vec![b"from 0".to_vec(); 3]);
}

#[test]
fn a_fault_of_one_is_told_to_all_in_its_words() {
    let told = each(3, |group| {
        let group = group.unwrap();
        if group.rank() == 2 {
            group.fail("its disk is full");
            return String::new();
        }
        group.sum(&mut [1.0]).unwrap_err().to_string()
    });
    for sentence in &told[..2] {
        assert_eq!(
            sentence,
            "process rank 2 of 3 failed, so this one ends too: its disk is full"
        );
    }
}

#[test]
fn a_process_that_is_gone_is_named_to_all_others() {
    for gone in [0, 1, 2] {
        let told = each(3, |group| {
            let group = group.unwrap();
            if group.rank() == gone {
                return String::new();
            }
            group.sum_all(&mut [1.0; 1000]).unwrap_err().to_string()
        });
        for (rank, sentence) in told.iter().enumerate().filter(|(rank, _)| *rank != gone) {
            assert!(
                sentence.starts_with(&format!("process rank {gone} of 3 has ended")),
                "rank {rank}: {sentence}"
            );
        }
    }
}

#[test]
fn who_waits_for_others_by_other_means_learns_that_one_has_ended_and_takes_nothing_of_what_they_say()
 {
    let told = each(3, |group| {
        let group = group.unwrap();
        if group.rank() == 1 {
            return String::new();
        }
        let told = loop {
            if let Err(gone) = group.look() {
                break gone.to_string();
            }
            std::thread::yield_now();
        };
        assert!(group.sum(&mut [1.0]).is_err());
        told
    });
    for rank in [0, 2] {
        assert!(
            told[rank].starts_with("process rank 1 of 3 has ended"),
            "rank {rank}: {}",
            told[rank]
        );
    }
    each(2, |group| {
        let group = group.unwrap();
        for round in 0..50u8 {
            group.look().unwrap();
            let heard = group.broadcast(vec![round]).unwrap();
            group.look().unwrap();
            assert_eq!(heard, [round]);
            let mut sums = [1.0];
            group.sum(&mut sums).unwrap();
            assert_eq!(sums, [2.0]);
        }
        // Nobody ends before the other has looked.
        group.sum(&mut [0.0]).unwrap();
    });
}

#[test]
fn processes_that_differ_are_told_so() {
    let told = each(2, |group| {
        let group = group.unwrap();
        let mine = if group.rank() == 0 { "a" } else { "b" };
        agree(&*group, "the same", "data").unwrap();
        agree(&*group, mine, "data").unwrap_err().to_string()
    });
    assert!(
        told[0].starts_with("1 other processes have data that differ"),
        "{}",
        told[0]
    );
    assert!(
        told[1].starts_with("process rank 1 has data that differ"),
        "{}",
        told[1]
    );
}

#[test]
fn who_does_not_come_is_missed_by_rank_and_who_is_not_there_by_address() {
    let port = free_port();
    let hasty = |rank, size| World {
        patience: Duration::from_millis(300),
        ..world(rank, size, port)
    };
    let alone = join(Some(&hasty(1, 2)), &StopFlag::new())
        .unwrap_err()
        .to_string();
    let expected = format!("process rank 0 could not be reached at 127.0.0.1:{port} within 0.3 s");
    assert!(alone.starts_with(&expected), "{alone}");
    std::thread::scope(|scope| {
        let second = scope.spawn(|| join(Some(&world(1, 3, port)), &StopFlag::new()));
        let first = scope.spawn(|| join(Some(&hasty(0, 3)), &StopFlag::new()));
        for thread in [first, second] {
            let sentence = thread.join().unwrap().unwrap_err().to_string();
            let expected = "of 3 processes, rank 2 did not come to";
            assert!(sentence.starts_with(expected), "{sentence}");
        }
    });
}

#[test]
fn strangers_are_sent_away_and_a_second_of_a_rank_is_told_so() {
    let port = free_port();
    std::thread::scope(|scope| {
        let join = |rank| move || join(Some(&world(rank, 3, port)), &StopFlag::new());
        let first = scope.spawn(join(0));
        let mut stranger = loop {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                break stream;
            }
        };
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let ones = [scope.spawn(join(1)), scope.spawn(join(1))];
        std::thread::sleep(Duration::from_millis(500));
        let last = scope.spawn(join(2));
        let results = ones.map(|thread| thread.join().unwrap());
        assert!(first.join().unwrap().is_ok() && last.join().unwrap().is_ok());
        let refused: Vec<String> = results
            .into_iter()
            .filter_map(|result| Some(result.err()?.to_string()))
            .collect();
        assert_eq!(refused.len(), 1);
        assert!(
            refused[0].starts_with("another process has RANK=1 already"),
            "{refused:?}"
        );
    });
}

#[test]
fn a_port_that_is_taken_is_said_by_the_process_that_needs_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = join(Some(&world(0, 2, port)), &StopFlag::new()).unwrap_err();
    let expected = format!("process rank 0 cannot listen at 127.0.0.1:{port}");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn whoever_waits_for_others_can_be_stopped() {
    let stop = StopFlag::new();
    stop.stop();
    for rank in [0, 1] {
        let error = join(Some(&world(rank, 2, free_port())), &stop).unwrap_err();
        assert_eq!(error.code(), "stopped");
    }
}

#[test]
fn shares_are_whole_and_differ_by_one_at_most() {
    for len in 0..10 {
        let shares: Vec<Range<usize>> = (0..3).map(|rank| share(rank, 3, len)).collect();
        let all: Vec<usize> = shares.iter().cloned().flatten().collect();
        assert_eq!(all, (0..len).collect::<Vec<_>>());
        let lens = shares.iter().map(ExactSizeIterator::len);
        assert!(lens.clone().max().unwrap() - lens.min().unwrap() <= 1);
    }
}
