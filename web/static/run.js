// The page of one run: curves first, then every event as it comes.
(() => {
  "use strict";
  const root = document.getElementById("run");
  const id = root.dataset.run;
  const MOST = 4000;
  const STEP = ["loss", "learning_rate", "grad_norm", "tokens_per_second"];
  // Of runs that are trained on pairs.
  const REWARDS = ["rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"];
  // Of runs on a GPU, whose monitor is asked once a second: most of these do not come with every step.
  const GPU = ["model_flops_utilization", "device_memory_peak_gb", "device_memory_gb", "device_utilization", "device_temperature", "device_power"];
  const SPARSE = ["eval_loss", ...GPU.slice(2)];
  const NAMES = ["eval_loss", ...STEP, ...REWARDS, ...GPU];
  const LABELS = {
    loss: "Loss", eval_loss: "Held-out loss", learning_rate: "Learning rate", grad_norm: "Gradient norm", tokens_per_second: "Tokens a second",
    "rewards/chosen": "Chosen", "rewards/rejected": "Rejected", "rewards/margins": "Margin", "rewards/accuracies": "Accuracy",
    model_flops_utilization: "MFU", device_memory_peak_gb: "Most of this run", device_memory_gb: "In use by all",
    device_utilization: "Busy", device_temperature: "Temperature", device_power: "Power",
  };
  const curves = Object.fromEntries(NAMES.map((name) => [name, { steps: [], values: [] }]));
  const $ = (name) => document.getElementById(name);
  let total = Number(root.dataset.total);
  let dirty = false;
  let source = null;

  const charts = [...document.querySelectorAll("[data-chart]")].map((box) => {
    const names = box.dataset.chart.split(",");
    return { names, primary: "primary" in box.dataset, chart: new Charts.Chart(box, { legend: "primary" in box.dataset, bounds: box.dataset.chart === "rewards/accuracies" ? [0, 1] : undefined }) };
  });

  // Scores of plugins bear names that are known once they come: "plugin/score".
  const scoreBox = document.querySelector("[data-scores]");
  const scorers = scoreBox ? scoreBox.dataset.scores.split(",") : [];
  const isScore = (name) => scorers.some((plugin) => name.startsWith(`${plugin}/`));
  const scoreChart = scoreBox && new Charts.Chart(scoreBox, { legend: false, bounds: [0, 1] });

  const drawScores = () => {
    if (!scoreBox) return;
    const shown = Object.keys(curves).filter(isScore).sort().map((name, index) => (
      { label: name, stroke: `--s${index % 8}`, sparse: true, ...curves[name] }));
    if (!shown.length) return;
    scoreChart.set(shown);
    $("scores-key").replaceChildren(...shown.flatMap(({ label }, index) => {
      const swatch = document.createElement("span");
      swatch.className = `swatch s${index % 8}`;
      const one = document.createElement("span");
      one.className = "nowrap";
      one.append(swatch, ` ${label}`);
      return [one, " "];
    }));
    const table = $("scores-table");
    if (!table.closest("details").open) return;
    const head = document.createElement("tr");
    for (const text of ["Step", ...shown.map(({ label }) => label)]) {
      const cell = document.createElement("th");
      cell.className = "num";
      cell.textContent = text;
      head.append(cell);
    }
    table.tHead.replaceChildren(head);
    Charts.table(table.tBodies[0], shown);
  };

  const draw = () => {
    dirty = false;
    drawScores();
    for (const { names, chart } of charts) {
      chart.set(names.map((name, index) => ({
        label: LABELS[name],
        stroke: name === "eval_loss" ? "--s1" : ["--s0", "--s1"][index],
        sparse: SPARSE.includes(name),
        ...curves[name],
      })));
    }
    for (const body of document.querySelectorAll("[data-table]")) {
      if (body.closest("details").open) Charts.table(body, body.dataset.table.split(",").map((name) => curves[name]));
    }
  };
  const redraw = () => { if (!dirty) { dirty = true; requestAnimationFrame(draw); } };
  for (const details of document.querySelectorAll(".table-for")) details.addEventListener("toggle", redraw);

  // A step that is told again, after a resume or a reconnect, replaces what was there.
  const put = (name, step, value) => {
    curves[name] ??= { steps: [], values: [] };
    const curve = curves[name];
    while (curve.steps.length && curve.steps[curve.steps.length - 1] >= step) {
      curve.steps.pop();
      curve.values.pop();
    }
    curve.steps.push(step);
    curve.values.push(value);
  };

  const load = async () => {
    const answer = await fetch(`/api/v1/runs/${id}/metrics?max_points=2000`);
    if (!answer.ok) throw new Error(`the curves cannot be read: ${answer.status}`);
    const body = await answer.json();
    for (const name of [...NAMES, ...Object.keys(body.series).filter(isScore)]) {
      const curve = body.series[name];
      curves[name] = { steps: curve?.steps ?? [], values: curve?.values ?? [] };
    }
    redraw();
    return body.last_event;
  };

  const seconds = (value) => {
    const whole = Math.max(0, Math.round(value));
    if (whole < 60) return `${whole} s`;
    const two = (n) => String(n).padStart(2, "0");
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
    return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  };
  const count = (value) => Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");

  // Speed over the last steps, by the server's clock, so that a reload knows it at once.
  const recent = [];
  const eta = (step, at) => {
    recent.push([step, Date.parse(at)]);
    if (recent.length > 30) recent.shift();
    const [first, last] = [recent[0], recent[recent.length - 1]];
    if (!total || last[0] <= first[0]) return;
    const perStep = (last[1] - first[1]) / 1000 / (last[0] - first[0]);
    $("eta").textContent = seconds(perStep * (total - step));
  };

  const log = (kind, at, text) => {
    const line = document.createElement("li");
    line.className = kind;
    const time = document.createElement("time");
    time.dateTime = at;
    time.textContent = at.slice(0, 19).replace("T", " ");
    const words = document.createElement("span");
    words.textContent = text;
    line.append(time, " ", words);
    const list = $("log-lines");
    const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(line);
    if (list.children.length > 400) list.firstChild.remove();
    if (follows) list.scrollTop = list.scrollHeight;
    $("log-empty").hidden = true;
  };

  const setTotal = (steps) => {
    total = steps;
    $("of-total").textContent = steps ? ` / ${count(steps)}` : "";
  };

  let announced = 0;
  const on = {
    curating(event, at) {
      const left = event.seconds_left === undefined ? "" : `, ${seconds(event.seconds_left)} left`;
      const text = `Curating: ${count(event.rows)} rows, ${count(event.kept)} kept${left}`;
      log("log", at, text);
      if ($("curating")) $("curating").textContent = text;
    },
    curated(event, at) {
      const text = `Curated: ${count(event.kept)} of ${count(event.rows)} rows kept, ${count(event.rewritten)} of them rewritten`;
      log("log", at, text);
      if ($("curating")) $("curating").textContent = `${text}; a reload shows all of it.`;
    },
    started(event, at) {
      setTotal(event.total_steps);
      log("started", at, `Started: ${event.trainable_parameters} trainable parameters, ${event.supervised_tokens_per_epoch} supervised tokens an epoch, ${event.total_steps} steps`);
    },
    step(event, at) {
      for (const name of STEP) put(name, event.step, event[name]);
      for (const name of [...REWARDS, ...GPU]) if (name in event) put(name, event.step, event[name]);
      $("step").textContent = count(event.step);
      $("epoch").textContent = Charts.figure(event.epoch);
      $("loss").textContent = Charts.figure(event.loss);
      $("speed").textContent = count(event.tokens_per_second);
      if (total) {
        $("progress").value = event.step / total;
        const tenth = Math.floor((event.step / total) * 10);
        if (tenth > announced) {
          announced = tenth;
          $("announce").textContent = `${tenth * 10} percent, loss ${Charts.figure(event.loss)}`;
        }
      }
      eta(event.step, at);
      if (curves.loss.steps.length > MOST) load();
      redraw();
    },
    eval(event, at) {
      put("eval_loss", event.step, event.eval_loss);
      for (const [name, value] of Object.entries(event.scores)) if (isScore(name)) put(name, event.step, value);
      $("eval-loss").textContent = Charts.figure(event.eval_loss);
      log("eval", at, `Evaluation after step ${event.step}: held-out loss ${event.eval_loss.toFixed(4)}${Object.entries(event.scores).filter(([name]) => isScore(name)).map(([name, value]) => `, ${name} ${value.toFixed(4)}`).join("")}`);
      redraw();
    },
    checkpoint(event, at) {
      log("checkpoint", at, `Checkpoint of step ${event.step} saved`);
      $("no-checkpoints")?.remove();
      const line = document.createElement("li");
      line.textContent = `Step ${count(event.step)}`;
      $("checkpoints").append(line);
    },
    log(event, at) { log("log", at, event.message); },
    error(event, at) { log("error", at, `${event.message} (${event.code})`); },
    finished(event, at) { log("finished", at, `Finished after ${event.steps} steps: ${event.reason}`); },
  };

  const status = (news) => {
    const badge = document.querySelector("#badge [data-status]");
    const before = badge.textContent;
    badge.textContent = news.status;
    badge.className = `badge ${news.status}`;
    const stop = $("stop")?.querySelector("button");
    if (stop && news.status === "running") stop.textContent = "Stop and save";
    if (!news.final) return;
    source.close();
    if (before === news.status) return;
    // Which buttons there are depends on how it ended: the server knows.
    const ended = $("ended");
    ended.hidden = false;
    ended.className = news.status === "failed" ? "banner bad" : "banner";
    ended.textContent = news.error ? `The run is ${news.status}: ${news.error} ` : `The run is ${news.status}. `;
    const again = document.createElement("a");
    again.href = location.pathname;
    again.textContent = "Show what can be done now";
    ended.append(again);
    $("announce").textContent = `The run is ${news.status}.`;
    $("stop")?.remove();
  };

  const follow = (after) => {
    source = new EventSource(`/api/v1/runs/${id}/events?after=${after}`);
    for (const name of Object.keys(on)) {
      source.addEventListener(name, (message) => {
        // EventSource's own failures are called "error" too, and carry nothing.
        if (!message.data) return;
        const { at, run_event: event } = JSON.parse(message.data);
        on[name](event, at);
      });
    }
    source.addEventListener("status", (message) => status(JSON.parse(message.data)));
  };

  Charts.controls(document, () => charts.filter(({ primary }) => primary).map(({ chart }) => chart));
  const logList = $("log-lines");
  logList.scrollTop = logList.scrollHeight;
  load().then((last) => { if (root.dataset.final !== "true") follow(last); }, (error) => {
    const empty = document.querySelector(".chart-empty");
    if (empty) empty.textContent = String(error.message);
  });
})();
