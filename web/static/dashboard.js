// Runs that work now: one stream each for the first three, so that a browser's few connections are left for pages.
(() => {
  "use strict";
  for (const item of [...document.querySelectorAll("[data-run]")].slice(0, 3)) {
    const source = new EventSource(`/api/v1/runs/${item.dataset.run}/events?after=${item.dataset.after}`);
    let total = Number(item.dataset.total);
    const progress = item.querySelector("progress");
    source.addEventListener("started", (message) => { total = JSON.parse(message.data).run_event.total_steps; });
    source.addEventListener("step", (message) => {
      const { run_event: event } = JSON.parse(message.data);
      item.querySelector("[data-step]").textContent = event.step;
      item.querySelector("[data-loss]").textContent = Number(event.loss.toPrecision(4));
      if (total) progress.value = event.step / total;
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
