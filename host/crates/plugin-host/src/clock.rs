//! The clock of the deadlines: it moves the engines' epochs when a call is due, and sleeps otherwise.
//!
//! A guest looks at its engine's epoch on its way into functions and around loops. When that has moved it asks the host, which
//! ends the call that is due and sends every other one on. The thread sleeps until the first deadline of all running calls, so that
//! a call ends as soon as the system wakes a thread, and nothing ticks meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use wasmtime::{Engine, EngineWeak, Store, UpdateDeadline};

/// The epochs move again after so long while a call that is due has not ended: it may be in the host, or have asked just before.
const AGAIN: Duration = Duration::from_millis(1);
/// Longest time of a call, some centuries, so that no sum of times overflows.
const MOST_NANOS: u64 = u64::MAX >> 1;

/// When a call has to be over.
#[derive(Debug)]
pub(crate) struct Due {
    from: Instant,
    /// After `from`.
    nanos: AtomicU64,
}

impl Due {
    /// So long from now.
    pub(crate) fn within(time: Duration) -> Arc<Self> {
        Arc::new(Self {
            from: Instant::now(),
            nanos: AtomicU64::new(nanos(time)),
        })
    }

    /// So long again, from now on. Never sooner than before, so that nobody has to be woken.
    pub(crate) fn extend(&self, time: Duration) {
        let due = nanos(self.from.elapsed().saturating_add(time));
        self.nanos.fetch_max(due, Ordering::Relaxed);
    }

    fn at(&self) -> Instant {
        self.from + Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// Ends what runs in `store` when it is due, while [`Clock::watch`] watches it.
    pub(crate) fn end<T: 'static>(
        store: &mut Store<T>,
        due: impl Fn(&T) -> &Self + Send + Sync + 'static,
    ) {
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |store| {
            Ok(match Instant::now() >= due(store.data()).at() {
                true => UpdateDeadline::Interrupt,
                false => UpdateDeadline::Continue(1),
            })
        });
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).map_or(MOST_NANOS, |nanos| nanos.min(MOST_NANOS))
}

/// See the module.
pub(crate) struct Clock(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    engines: Vec<EngineWeak>,
    /// Running calls, in no order: there are as many as threads, and all are looked through only when the thread wakes.
    calls: Vec<Arc<Due>>,
    /// When the thread wakes by itself; none while it sleeps for good.
    wakes: Option<Instant>,
    stops: bool,
}

impl Clock {
    /// Of one engine.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let clock = Self(Arc::default());
        clock.also(engine);
        let shared = Arc::clone(&clock.0);
        thread::Builder::new()
            .name("plugin-clock".to_owned())
            .spawn(move || shared.run())?;
        Ok(clock)
    }

    /// Moves another engine's epoch too.
    pub(crate) fn also(&self, engine: &Engine) {
        self.0.lock().engines.push(engine.weak());
    }

    /// Watches over a call until the guard is dropped.
    pub(crate) fn watch<'a>(&'a self, due: &Arc<Due>) -> Watched<'a> {
        let at = due.at();
        let mut state = self.0.lock();
        state.calls.push(Arc::clone(due));
        // Call after call moves this on only when the thread has woken: with the same limits each is due after the one before.
        let is_earlier = state.wakes.is_none_or(|wakes| at < wakes);
        if is_earlier {
            state.wakes = Some(at);
        }
        drop(state);
        if is_earlier {
            self.0.changed.notify_one();
        }
        Watched {
            clock: self,
            due: Arc::clone(due),
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.lock().stops = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.stops {
            let now = Instant::now();
            let first = state.calls.iter().map(|due| due.at()).min();
            state.wakes = match first {
                Some(first) if first <= now => {
                    state.move_epochs();
                    Some(now + AGAIN)
                }
                // A call that it was woken for has mostly ended by now. It sleeps until then all the same: the next one is due
                // later and need not wake it.
                _ => {
                    let before = state.wakes.filter(|wakes| *wakes > now);
                    first.into_iter().chain(before).min()
                }
            };
            state = match state.wakes {
                Some(wakes) => {
                    let woken = self.changed.wait_timeout(state, wakes - now);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let woken = self.changed.wait(state);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

impl State {
    fn move_epochs(&self) {
        for engine in self.engines.iter().filter_map(EngineWeak::upgrade) {
            engine.increment_epoch();
        }
    }
}

/// A call that the clock watches over.
pub(crate) struct Watched<'a> {
    clock: &'a Clock,
    due: Arc<Due>,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let mut state = self.clock.0.lock();
        let place = state
            .calls
            .iter()
            .position(|due| Arc::ptr_eq(due, &self.due));
        if let Some(place) = place {
            state.calls.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use wasmtime::{Config, Engine, Linker, Module, Store, Trap};

    use super::{Clock, Due};

    const HOUR: Duration = Duration::from_secs(3600);

    struct Call {
        due: Arc<Due>,
        others: Arc<AtomicUsize>,
    }

    fn engine() -> Engine {
        Engine::new(Config::new().epoch_interruption(true)).unwrap()
    }

    /// Runs `body`, which may ask whether there are `$others`, for as long as it may.
    fn run(
        clock: &Clock,
        engine: &Engine,
        body: &str,
        due: &Arc<Due>,
        others: &Arc<AtomicUsize>,
    ) -> wasmtime::Result<()> {
        let text = format!(
            r#"(module (import "" "others" (func $others (result i32))) (func (export "run") {body}))"#
        );
        let module = Module::new(engine, wat::parse_str(text)?)?;
        let call = Call {
            due: Arc::clone(due),
            others: Arc::clone(others),
        };
        let mut store = Store::new(engine, call);
        Due::end(&mut store, |call| &*call.due);
        let mut linker = Linker::new(engine);
        linker.func_wrap("", "others", |caller: wasmtime::Caller<'_, Call>| {
            i32::from(caller.data().others.load(Ordering::SeqCst) > 0)
        })?;
        let instance = linker.instantiate(&mut store, &module)?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        let _watched = clock.watch(due);
        run.call(&mut store, ())
    }

    const ENDLESS: &str = "(loop $l (br $l))";
    const UNTIL_ALONE: &str = "(loop $l (br_if $l (call $others)))";

    #[test]
    fn each_call_ends_at_its_own_deadline_on_whichever_engine() {
        let engines = [engine(), engine()];
        let clock = Clock::start(&engines[0]).unwrap();
        clock.also(&engines[1]);
        let others = Arc::new(AtomicUsize::new(6));
        std::thread::scope(|scope| {
            // Due long after the thread has to wake for the others; it ends by itself when they are gone.
            let patient = scope.spawn(|| {
                run(
                    &clock,
                    &engines[0],
                    UNTIL_ALONE,
                    &Due::within(HOUR),
                    &others,
                )
            });
            for round in 0..6_usize {
                let time = Duration::from_millis([30, 1, 20, 0, 2, 10][round]);
                let started = Instant::now();
                let due = Due::within(time);
                let ended = run(&clock, &engines[round % 2], ENDLESS, &due, &others).unwrap_err();
                assert_eq!(ended.downcast_ref::<Trap>(), Some(&Trap::Interrupt));
                assert!(started.elapsed() >= time, "it ended too early");
                others.fetch_sub(1, Ordering::SeqCst);
            }
            patient.join().unwrap().unwrap();
        });
        assert!(clock.0.lock().calls.is_empty());
    }

    #[test]
    fn a_call_that_was_given_more_time_is_not_ended_when_it_was_due_at_first() {
        let engine = engine();
        let clock = Clock::start(&engine).unwrap();
        let others = Arc::new(AtomicUsize::new(1));
        let due = Due::within(Duration::ZERO);
        due.extend(HOUR);
        due.extend(Duration::ZERO);
        std::thread::scope(|scope| {
            let patient = scope.spawn(|| run(&clock, &engine, UNTIL_ALONE, &due, &others));
            // The epoch moves for this one, also when it is due before it is watched.
            let past = Due::within(Duration::ZERO);
            run(&clock, &engine, ENDLESS, &past, &others).unwrap_err();
            others.store(0, Ordering::SeqCst);
            patient.join().unwrap().unwrap();
        });
    }

    #[test]
    fn call_after_call_wakes_the_thread_no_more_than_once() {
        let engine = engine();
        let clock = Clock::start(&engine).unwrap();
        let first = Due::within(HOUR);
        drop(clock.watch(&first));
        let wakes = clock.0.lock().wakes;
        assert_eq!(wakes, Some(first.at()));
        for _ in 0..100 {
            drop(clock.watch(&Due::within(HOUR)));
        }
        assert_eq!(clock.0.lock().wakes, wakes);
    }
}
