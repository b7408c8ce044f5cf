// Several runs on one chart.
(() => {
  "use strict";
  const card = document.getElementById("compare");
  const ids = JSON.parse(card.dataset.runs);
  const names = ids.map((id) => document.querySelector(`[data-name="${id}"]`).textContent);
  const chart = new Charts.Chart(card.querySelector("[data-compare]"), { sync: "compare" });
  const metric = document.getElementById("metric");
  let series = [];

  const curves = () => series.map((all, index) => ({
    label: names[index],
    stroke: `--s${index % 8}`,
    // What evaluations say comes every so many steps.
    sparse: metric.value === "eval_loss" || metric.value.includes("/"),
    steps: all[metric.value]?.steps ?? [],
    values: all[metric.value]?.values ?? [],
  }));

  const draw = () => {
    const shown = curves();
    chart.set(shown);
    const table = document.getElementById("compare-table");
    if (!table.closest("details").open) return;
    const head = document.createElement("tr");
    for (const text of ["Step", ...names]) {
      const cell = document.createElement("th");
      cell.className = "num";
      cell.textContent = text;
      head.append(cell);
    }
    table.tHead.replaceChildren(head);
    Charts.table(table.tBodies[0], shown);
  };

  metric.addEventListener("change", draw);
  card.querySelector(".table-for").addEventListener("toggle", draw);
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
    draw();
  });
})();
