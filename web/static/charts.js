// Curves over steps: uPlot, debiased smoothing, log scale, zoom, and a table of the same numbers.
window.Charts = (() => {
  "use strict";
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Four significant digits, as the server writes them.
  const figure = (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size < 1e-4 || size >= 1e7) return Number(value.toPrecision(3)).toExponential().replace("e+", "e");
    return String(Number(value.toPrecision(4)));
  };

  // Exponential mean without the pull to zero at the start: s / (1 - w^n).
  const smooth = (values, weight) => {
    if (!weight) return values;
    let sum = 0;
    let mass = 1;
    return values.map((value) => {
      if (value === null || value === undefined) return value;
      sum = sum * weight + (1 - weight) * value;
      mass *= weight;
      return sum / (1 - mass);
    });
  };

  // Curves of different lengths on one axis: [steps, ...values], null where a curve has no point.
  const join = (curves) => {
    const steps = [...new Set(curves.flatMap((curve) => curve.steps))].sort((a, b) => a - b);
    const place = new Map(steps.map((step, index) => [step, index]));
    return [steps, ...curves.map((curve) => {
      const column = new Array(steps.length).fill(null);
      curve.steps.forEach((step, index) => { column[place.get(step)] = curve.values[index]; });
      return column;
    })];
  };

  class Chart {
    // box: the element; lines: [{label, stroke: "--s0", points: bool, faint: bool}]
    constructor(box, options = {}) {
      this.box = box;
      this.options = options;
      this.weight = 0;
      this.log = false;
      this.curves = [];
      this.plot = null;
      this.size = new ResizeObserver(() => this.resize());
      this.size.observe(box);
      document.addEventListener("themechange", () => this.rebuild());
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
    }

    // curves: [{label, stroke, steps, values, sparse}]
    set(curves) {
      const shape = (list) => list.map((curve) => `${curve.label}|${curve.stroke}|${curve.sparse}`).join();
      const changed = shape(curves) !== shape(this.curves);
      this.curves = curves;
      if (changed || !this.plot) this.rebuild();
      else this.plot.setData(this.data());
    }

    setWeight(weight) {
      const had = this.weight > 0;
      this.weight = weight;
      if (had !== weight > 0) this.rebuild();
      else this.plot?.setData(this.data());
    }

    setLog(log) { this.log = log; this.rebuild(); }

    resetZoom() {
      const steps = this.plot?.data[0];
      if (steps?.length) this.plot.setScale("x", { min: steps[0], max: steps[steps.length - 1] });
      this.plot?.setData(this.data(), true);
    }

    positive(values) { return this.log ? values.map((v) => (v > 0 ? v : null)) : values; }

    data() {
      const shown = [];
      for (const curve of this.curves) {
        const values = this.positive(curve.values);
        shown.push({ steps: curve.steps, values });
        if (this.weight > 0 && !curve.sparse) {
          shown.push({ steps: curve.steps, values: this.positive(smooth(curve.values, this.weight)) });
        }
      }
      return join(shown);
    }

    series() {
      const series = [{ label: "Step" }];
      const value = (_, raw) => figure(raw);
      for (const curve of this.curves) {
        const stroke = colour(curve.stroke);
        const smoothed = this.weight > 0 && !curve.sparse;
        series.push({
          label: curve.label,
          stroke: smoothed ? `color-mix(in srgb, ${stroke} 28%, transparent)` : stroke,
          width: smoothed ? 1 : 2,
          class: smoothed && this.options.terse ? "u-raw" : undefined,
          points: { show: Boolean(curve.sparse), size: 7, fill: stroke },
          spanGaps: true,
          value,
        });
        if (smoothed) {
          const label = this.options.terse ? curve.label : `${curve.label}, smoothed`;
          series.push({ label, stroke, width: 2.2, points: { show: false }, spanGaps: true, value });
        }
      }
      return series;
    }

    height() {
      const legend = this.box.querySelector(".u-legend")?.offsetHeight ?? (this.hasLegend() ? 28 : 0);
      return Math.max(110, this.box.clientHeight - legend);
    }

    // On a phone it would leave no room for the curve; the page names the colours beside it.
    hasLegend() {
      return this.options.legend !== false && this.box.clientWidth >= 560;
    }

    // With the values between the bounds that they cannot leave, where there are such; else as far as they go.
    range(min, max) {
      if (this.options.bounds) return this.options.bounds.map((bound, side) => bound + (side ? .04 : -.04));
      if (min === null || max === null) return [0, 1];
      // One value alone still gets an axis around it.
      const gap = max - min || Math.abs(max) || 1;
      return [min - gap * .06, max + gap * .06];
    }

    rebuild() {
      this.plot?.destroy();
      this.plot = null;
      const empty = this.box.querySelector(".chart-empty");
      const has = this.curves.some((curve) => curve.steps.length > 0);
      if (empty) empty.hidden = has;
      if (!has || this.box.clientWidth === 0) return;
      const axis = {
        stroke: colour("--muted"),
        grid: { stroke: colour("--line"), width: 1 },
        ticks: { stroke: colour("--line"), width: 1, size: 4 },
        font: `12px ${getComputedStyle(document.body).fontFamily}`,
      };
      this.plot = new uPlot({
        width: this.box.clientWidth,
        height: this.height(),
        padding: [8, 18, 0, 0],
        cursor: { sync: { key: this.options.sync || "steps" }, drag: { x: true, y: false } },
        legend: { show: this.hasLegend() },
        scales: {
          x: { time: false },
          y: {
            distr: this.log ? 3 : 1,
            range: this.log ? undefined : (_, min, max) => this.range(min, max),
          },
        },
        axes: [
          { ...axis, size: 32, label: "Step", labelSize: 16, labelGap: 0, labelFont: axis.font, values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tick : "")) },
          { ...axis, size: 58, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : figure(tick))) },
        ],
        series: this.series(),
      }, this.data(), this.box);
      // The legend's height is known only once it is laid out.
      requestAnimationFrame(() => this.resize());
    }

    resize() {
      if (!this.plot) { if (this.curves.length) this.rebuild(); return; }
      const width = this.box.clientWidth;
      if (width === 0) return;
      if (this.hasLegend() !== Boolean(this.box.querySelector(".u-legend"))) return this.rebuild();
      this.plot.setSize({ width, height: this.height() });
      // How high the legend is hangs on the width, which it has a frame later.
      requestAnimationFrame(() => {
        if (this.plot && this.plot.height !== this.height()) this.plot.setSize({ width: this.plot.width, height: this.height() });
      });
    }
  }

  // The newest rows first; a long curve is cut for the table, the CSV file has all of it.
  const table = (body, curves, most = 400) => {
    const [steps, ...columns] = join(curves);
    const rows = [];
    for (let index = steps.length - 1; index >= 0 && rows.length < most; index -= 1) {
      const row = document.createElement("tr");
      for (const text of [steps[index], ...columns.map((column) => figure(column[index]))]) {
        const cell = document.createElement("td");
        cell.className = "num";
        cell.textContent = text;
        row.append(cell);
      }
      rows.push(row);
    }
    body.replaceChildren(...rows);
  };

  // The controls above a chart; calls back with what they say.
  const controls = (root, charts) => {
    const slider = root.querySelector("#smooth");
    const output = root.querySelector("#smooth-value");
    const log = root.querySelector("#log");
    const apply = () => {
      output.textContent = Number(slider.value).toFixed(2);
      for (const chart of charts()) chart.setWeight(Number(slider.value));
    };
    slider.addEventListener("input", apply);
    log.addEventListener("change", () => { for (const chart of charts()) chart.setLog(log.checked); });
    root.querySelector("[data-reset-zoom]")?.addEventListener("click", () => {
      for (const chart of charts()) chart.resetZoom();
    });
    apply();
  };

  return { Chart, table, controls, figure, join };
})();
