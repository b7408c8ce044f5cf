// Several runs on one chart.
(() => {
  "use strict";
  const card = document.getElementById("compare");
  const ids = JSON.parse(card.dataset.runs);
  const names = ids.map((id) => document.querySelector(`[data-name="${id}"]`).textContent);
  const chart = new Charts.Chart(card.querySelector("[data-compare]"), { sync: "compare", terse: true });
  const metric = document.getElementById("metric");
  const scores = document.getElementById("compare-scores");
  const score = document.getElementById("score");
  const scoreChart = new Charts.Chart(scores.querySelector("[data-compare-scores]"), { sync: "compare", bounds: [0, 1] });
  let series = [];

  const curvesOf = (metric) => series.map((all, index) => ({
    label: names[index],
    stroke: `--s${index % 8}`,
    // What evaluations say comes every so many steps.
    sparse: metric === "eval_loss" || metric.includes("/"),
    steps: all[metric]?.steps ?? [],
    values: all[metric]?.values ?? [],
  }));
  const curves = () => curvesOf(metric.value);

  const draw = () => {
    const shown = curves();
    chart.set(shown.filter((curve) => curve.steps.length));
    fill("compare-table", shown);
    if (scores.hidden) return;
    const scored = curvesOf(score.value);
    scoreChart.set(scored.filter((curve) => curve.steps.length));
    fill("scores-table", scored);
  };

  const fill = (id, shown) => {
    const table = document.getElementById(id);
    if (!table.closest("details").open) return;
    const head = document.createElement("tr");
    for (const text of ["Step", ...names]) {
      const cell = document.createElement("th");
      cell.className = "num break";
      cell.textContent = text;
      head.append(cell);
    }
    table.tHead.replaceChildren(head);
    Charts.table(table.tBodies[0], shown);
  };

  for (const choice of [metric, score]) choice.addEventListener("change", draw);
  for (const details of document.querySelectorAll(".table-for")) details.addEventListener("toggle", draw);
  document.getElementById("csv").addEventListener("click", () => {
    const shown = curves();
    // A name that begins like a formula must stay a name in a spreadsheet.
    const cell = (text) => `"${/^[=+\-@\t\r]/.test(text) ? "'" : ""}${text.replaceAll('"', '""')}"`;
    const [steps, ...columns] = Charts.join(shown);
    const lines = [["step", ...names.map(cell)].join(",")];
    steps.forEach((step, row) => lines.push([step, ...columns.map((column) => column[row] ?? "")].join(",")));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
    link.download = `compare-${metric.value}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  });

  Charts.controls(card, () => [chart]);
  Promise.all(ids.map(async (id) => {
    const answer = await fetch(`/api/v1/runs/${id}/metrics?max_points=1500`);
    return answer.ok ? (await answer.json()).series : {};
  })).then((all) => {
    series = all;
    // Beside what every run has: scores of plugins, rewards of pairs.
    const known = new Set([...metric.options].map((option) => option.value));
    for (const name of [...new Set(all.flatMap(Object.keys))].sort()) if (!known.has(name)) metric.add(new Option(name));
    const ofPairs = /^(eval_)?(rewards|logps|logits)\//;
    for (const { value } of metric.options) if (value.includes("/") && !ofPairs.test(value)) score.add(new Option(value));
    scores.hidden = score.options.length === 0;
    draw();
  });
})();
