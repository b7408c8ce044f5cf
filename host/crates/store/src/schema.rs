//! The tables as diesel sees them; the same on both databases. The words are in `migrations/`.

diesel::table! {
    runs (id) {
        id -> Text,
        name -> Text,
        status -> Text,
        config -> Text,
        resume -> Bool,
        stop_requested -> Bool,
        worker -> Nullable<Text>,
        fence -> BigInt,
        lease_until -> Nullable<Timestamp>,
        error -> Nullable<Text>,
        event_seq -> BigInt,
        step -> BigInt,
        total_steps -> Nullable<BigInt>,
        epoch -> Double,
        last_loss -> Nullable<Double>,
        eval_loss -> Nullable<Double>,
        tokens_per_second -> Nullable<Double>,
        curation -> Nullable<Text>,
        created_at -> Timestamp,
        queued_at -> Timestamp,
        started_at -> Nullable<Timestamp>,
        finished_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    metrics (run_id, name, rank, step) {
        run_id -> Text,
        name -> Text,
        rank -> Integer,
        step -> BigInt,
        epoch -> Double,
        value -> Double,
    }
}

diesel::table! {
    metric_buckets (run_id, name, rank, bucket) {
        run_id -> Text,
        name -> Text,
        rank -> Integer,
        bucket -> BigInt,
        min_step -> BigInt,
        min_epoch -> Double,
        min_value -> Double,
        max_step -> BigInt,
        max_epoch -> Double,
        max_value -> Double,
    }
}

diesel::table! {
    events (run_id, seq) {
        run_id -> Text,
        seq -> BigInt,
        created_at -> Timestamp,
        event -> Text,
    }
}

diesel::table! {
    checkpoints (id) {
        id -> Text,
        run_id -> Text,
        step -> BigInt,
        path -> Text,
        created_at -> Timestamp,
    }
}

diesel::table! {
    adapters (id) {
        id -> Text,
        run_id -> Nullable<Text>,
        name -> Text,
        kind -> Text,
        path -> Text,
        base_model -> Nullable<Text>,
        created_at -> Timestamp,
    }
}

diesel::table! {
    datasets (id) {
        id -> Text,
        name -> Text,
        description -> Text,
        path -> Text,
        format -> Text,
        samples -> Nullable<BigInt>,
        digest -> Nullable<Text>,
        created_at -> Timestamp,
    }
}

diesel::table! {
    plugins (name) {
        name -> Text,
        enabled -> Bool,
        granted_digest -> Nullable<Text>,
        grants -> Text,
        updated_at -> Timestamp,
        config -> Text,
    }
}

diesel::table! {
    plugin_executions (id) {
        id -> Text,
        plugin -> Text,
        run_id -> Nullable<Text>,
        digest -> Text,
        input_digest -> Text,
        duration_us -> BigInt,
        fuel -> BigInt,
        peak_memory_bytes -> BigInt,
        log -> Text,
        outcome -> Text,
        created_at -> Timestamp,
    }
}

diesel::table! {
    plugin_uses (id) {
        id -> Text,
        plugin -> Text,
        digest -> Text,
        capability -> Text,
        target -> Text,
        times -> BigInt,
        refused -> BigInt,
        bytes -> BigInt,
        tokens -> BigInt,
        created_at -> Timestamp,
    }
}

diesel::table! {
    plugin_suggestions (execution_id, pointer) {
        execution_id -> Text,
        pointer -> Text,
        verdict -> Text,
        updated_at -> Timestamp,
    }
}

// What is pruned of the first hangs on the second.
diesel::allow_tables_to_appear_in_same_query!(plugin_executions, plugin_suggestions);
