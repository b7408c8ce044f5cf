//! Memory limits of runs on a device.

use super::*;
use crate::estimate;

#[test]
fn a_limit_holds_for_a_devices_memory_and_the_losses_stay() {
    let folder = tempfile::tempdir().unwrap();
    let with = |output: &str| {
        let mut config = config("qwen2", folder.path(), "cuda");
        config.train.output = folder.path().join(output).display().to_string();
        config
    };
    let roomy = Arc::new(Emulated::default());
    plug(Some(roomy.clone()));
    let (result, events) = run(&with("roomy"), false, None);
    plug(None);
    result.unwrap();
    let expected = losses(&events);
    let whole = estimate(&with("roomy")).unwrap();
    // Planned is about what is taken.
    let off = whole.total as f64 / roomy.most() as f64;
    assert!(
        (0.9..1.6).contains(&off),
        "{whole:?}, took {}",
        roomy.most()
    );

    let mut limited = with("limited");
    let limit = whole.total - whole.activations / 2;
    limited.model.memory_limit = Some(limit.to_string());
    let planned = estimate(&limited).unwrap();
    assert!(planned.segment > 0 || planned.batch_size < 4, "{planned:?}");
    let machine = Arc::new(Emulated::default());
    plug(Some(machine.clone()));
    let (result, events) = run(&limited, false, None);
    plug(None);
    result.unwrap();
    assert!(logged(&events, "to stay under"), "{events:?}");
    assert!(machine.most() as u64 <= limit, "{} {limit}", machine.most());
    close(&losses(&events), &expected);
}

#[test]
fn a_device_is_planned_for_in_its_own_element_type_and_without_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let of = |device: &str, dtype: domain::ModelDtype| {
        let mut config = config("qwen2", folder.path(), device);
        config.model.dtype = dtype;
        estimate(&config).unwrap()
    };
    let [single, half] = [domain::ModelDtype::F32, domain::ModelDtype::Bf16].map(|d| of("cuda", d));
    assert_eq!(half.activations, single.activations / 2);
    assert!(half.base < single.base);
    // The values in f32 and, for products, in bf16.
    assert_eq!(2 * half.adapter, 3 * single.adapter);
    assert_eq!((half.program, half.data), (0, 0));
    // The processor computes in f32 whatever the weights are.
    let here = of("auto", domain::ModelDtype::Bf16);
    assert!(
        here.activations >= single.activations,
        "{here:?} {single:?}"
    );
    assert!(here.program > 0);
}

#[test]
fn a_run_that_was_planned_for_a_device_is_planned_anew_where_that_has_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config("qwen2", folder.path(), "auto");
    config.model.memory_limit = Some("1GB".into());
    let (result, events) = on_device(Emulated::limited(1000), &config);
    result.unwrap();
    assert!(logged(&events, "trains on the CPU: "), "{events:?}");
    let told = |event: &RunEvent| match event {
        RunEvent::Log { message } if message.starts_with("to stay under") => Some(message.clone()),
        _ => None,
    };
    let told: Vec<String> = events.iter().filter_map(told).collect();
    config.model.device = "cpu".into();
    config.train.output = folder.path().join("here").display().to_string();
    let (_, events) = run(&config, false, None);
    let here = events
        .iter()
        .any(|event| matches!(event, RunEvent::Log { message } if *message == told[0]));
    assert!(told.len() == 1 && here, "{told:?} {events:?}");
}
