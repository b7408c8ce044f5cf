// Runs that work now: one stream each for the first three, so that a browser's few connections are left for pages.
(() => {
  "use strict";
  const time = (seconds) => {
    const whole = Math.round(seconds);
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min`;
    return `${Math.floor(whole / 3600)} h ${String(Math.floor(whole % 3600 / 60)).padStart(2, "0")} min`;
  };
  for (const item of [...document.querySelectorAll("[data-run]")].slice(0, 3)) {
    const source = new EventSource(`/api/v1/runs/${item.dataset.run}/events?after=${item.dataset.after}`);
    let total = Number(item.dataset.total);
    const progress = item.querySelector("progress");
    const left = item.querySelector("[data-left]");
    let first = null;
    source.addEventListener("started", (message) => { total = JSON.parse(message.data).run_event.total_steps; });
    source.addEventListener("step", (message) => {
      const { at, run_event: event } = JSON.parse(message.data);
      item.querySelector("[data-step]").textContent = event.step.toLocaleString("en").replaceAll(",", "\u202f");
      item.querySelector("[data-loss]").textContent = Number(event.loss.toPrecision(4));
      if (!total) return;
      progress.value = event.step / total;
      // By the server's clock: the first events may come all at once.
      first ??= { step: event.step, at: Date.parse(at) };
      if (event.step <= first.step) return;
      const seconds = (Date.parse(at) - first.at) / 1000 / (event.step - first.step) * (total - event.step);
      left.textContent = `${time(seconds)} left`;
    });
    source.addEventListener("status", (message) => {
      const news = JSON.parse(message.data);
      const badge = item.querySelector("[data-status]");
      badge.textContent = news.status;
      badge.className = `badge ${news.status}`;
      if (news.final) { source.close(); setTimeout(() => location.reload(), 800); }
    });
  }
})();
