use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::World;
use super::star::Star;
use super::wire::{Kind, Link, SILENCE};
use crate::{Error, Result, StopFlag};

/// How a process presents itself: this, its rank and the number of processes. The last digit is the protocol's version.
const HELLO: &[u8; 8] = b"ctranks1";
/// How long whoever connects may take to say it. Others wait meanwhile.
const PRESENTING: Duration = Duration::from_secs(2);
/// Between two looks for what is awaited.
const PAUSE: Duration = Duration::from_millis(50);

/// Brings the processes of a world together: process 0 listens at its address, and the others connect.
pub(super) fn meet(world: &World, stop: &StopFlag) -> Result<Star> {
    let links = match world.rank {
        0 => wait_for_all(world, stop)?,
        _ => vec![go_to_first(world, stop)?],
    };
    Ok(Star::new(world.rank, world.size, links))
}

fn place(world: &World) -> String {
    format!("{}:{}", world.address, world.port)
}

fn addresses(world: &World) -> Result<Vec<SocketAddr>> {
    let found = (world.address.as_str(), world.port).to_socket_addrs();
    found.map(Iterator::collect).map_err(|error| {
        Error::Input(format!(
            "MASTER_ADDR={:?} has no address: {error}; it must be the machine of process rank 0",
            world.address
        ))
    })
}

fn pause(stop: &StopFlag) -> Result<()> {
    if stop.is_stopped() {
        let message = "stopped while the processes of the run were awaited";
        return Err(Error::Stopped(message.into()));
    }
    std::thread::sleep(PAUSE);
    Ok(())
}

/// Process 0: the connections to all others, in the order of their ranks.
fn wait_for_all(world: &World, stop: &StopFlag) -> Result<Vec<Link>> {
    let listener = TcpListener::bind(addresses(world)?.as_slice())
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| {
            Error::Input(format!(
                "process rank 0 cannot listen at {}: {error}; MASTER_ADDR must be an address of its machine, and \
                 MASTER_PORT a free port there",
                place(world)
            ))
        })?;
    let until = Instant::now() + world.patience;
    let mut links: Vec<Option<Link>> = (1..world.size).map(|_| None).collect();
    let outcome = loop {
        if links.iter().all(Option::is_some) {
            break Ok(());
        }
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(fault) = admit(world, stream, &mut links) {
                    break Err(fault);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if Instant::now() > until {
                    break Err(missing(world, &links));
                }
                if let Err(stopped) = pause(stop) {
                    break Err(stopped);
                }
            }
            // One connection that failed while it was made is no reason to give up on the others.
            Err(_) if Instant::now() > until => break Err(missing(world, &links)),
            Err(_) => {
                if let Err(stopped) = pause(stop) {
                    break Err(stopped);
                }
            }
        }
    };
    let links: Vec<Link> = links.into_iter().flatten().collect();
    let outcome = outcome.and_then(|()| {
        links
            .iter()
            .try_for_each(|link| link.send(Kind::Welcome, &[]))
    });
    if let Err(error) = outcome {
        for link in &links {
            let _ = link.send(Kind::Fault, error.to_string().as_bytes());
        }
        return Err(error);
    }
    Ok(links)
}

/// Takes in whoever says to be one of the others; strangers are sent away.
fn admit(world: &World, stream: TcpStream, links: &mut [Option<Link>]) -> Result<()> {
    let Some((rank, size)) = hear_hello(&stream) else {
        return Ok(());
    };
    let link = Link::new(stream, rank, world.size)?;
    if size != world.size {
        let sentence = format!(
            "process rank {rank} has WORLD_SIZE={size}, and process rank 0 has WORLD_SIZE={}",
            world.size
        );
        let _ = link.send(Kind::Fault, sentence.as_bytes());
        return Err(Error::Input(sentence));
    }
    match links.get_mut(rank.wrapping_sub(1)) {
        Some(free @ None) => *free = Some(link),
        _ => {
            let sentence = format!(
                "another process has RANK={rank} already; every process needs its own, from 0 to {}",
                world.size - 1
            );
            let _ = link.send(Kind::Fault, sentence.as_bytes());
        }
    }
    Ok(())
}

fn hear_hello(mut stream: &TcpStream) -> Option<(usize, usize)> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(PRESENTING)).ok()?;
    let mut hello = [0u8; 16];
    stream.read_exact(&mut hello).ok()?;
    let number = |at: usize| {
        let bytes = hello[at..at + 4].try_into().ok()?;
        Some(u32::from_le_bytes(bytes) as usize)
    };
    match hello.starts_with(HELLO) {
        true => Some((number(8)?, number(12)?)),
        false => None,
    }
}

fn missing(world: &World, links: &[Option<Link>]) -> Error {
    let missing: Vec<String> = (1..)
        .zip(links)
        .filter(|(_, link)| link.is_none())
        .map(|(rank, _)| rank.to_string())
        .collect();
    Error::Peer(format!(
        "of {} processes, rank {} did not come to {} within {} s; start each with its RANK and the same MASTER_ADDR, \
         MASTER_PORT and WORLD_SIZE",
        world.size,
        missing.join(", "),
        place(world),
        world.patience.as_secs_f32()
    ))
}

/// Any other process: the connection to process 0, which may start later.
fn go_to_first(world: &World, stop: &StopFlag) -> Result<Link> {
    let until = Instant::now() + world.patience;
    let stream = loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut last = None;
        let connected = addresses(world)?.iter().find_map(|address| {
            let most = left.max(PAUSE).min(Duration::from_secs(5));
            TcpStream::connect_timeout(address, most)
                .map_err(|error| last = Some(error))
                .ok()
        });
        if let Some(stream) = connected {
            break stream;
        }
        if left.is_zero() {
            return Err(Error::Peer(format!(
                "process rank 0 could not be reached at {} within {} s{}; start it with the same MASTER_ADDR and \
                 MASTER_PORT, and let no firewall stand between",
                place(world),
                world.patience.as_secs_f32(),
                last.map_or(String::new(), |error| format!(" ({error})"))
            )));
        }
        pause(stop)?;
    };
    let mut hello = HELLO.to_vec();
    for number in [world.rank, world.size] {
        hello.extend((number as u32).to_le_bytes());
    }
    let link = Link::new(stream, 0, world.size)?;
    link.present(&hello)?;
    // Process 0 waits for the last of us, and tells us if it gives up before.
    link.wait_at_most(world.patience + PRESENTING)?;
    link.receive(Kind::Welcome, Some(0))?;
    link.wait_at_most(SILENCE)?;
    Ok(link)
}
