// Draws the charts of a page from the data in it, again when the colour scheme changes, and light for the printer.
(() => {
  "use strict";

  const root = document.documentElement;
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const drawn = new Map();
  const narrow = 560; // CSS pixels
  const print = { on: false, width: 680, half: 330, scale: 2 }; // drawn twice as large and shown at half, for the printer's dots
  const dashes = [[], [7, 3], [2, 2], [9, 3, 2, 3], [4, 2], [1, 3], [12, 3], [6, 2, 2, 2, 2, 2]];
  const seconds = [1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
    3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 864000];
  const counts = [1, 2, 5].flatMap((digit) => Array.from({ length: 10 }, (_, power) => digit * 10 ** power)).sort((a, b) => a - b);

  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const scale = () => (print.on ? print.scale : 1);
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // Numbers and times as the tables write them: thousands apart by a space, times as h:mm:ss.
  function figure(value, decimals) {
    if (value == null) return "";
    const places = decimals === undefined ? Math.max(0, Math.min(6, 3 - Math.ceil(Math.log10(Math.abs(value) + 1e-12)))) : decimals;
    const [whole, part] = Math.abs(value).toFixed(places).split(".");
    const spaced = whole.replace(/\B(?=(\d{3})+$)/g, "\u2009");
    return (value < 0 ? "−" : "") + spaced + (part ? "." + part : "");
  }
  function bytes(value) {
    const power = Math.min(4, Math.max(0, Math.floor(Math.log2(Math.max(value, 1)) / 10)));
    const size = value / 1024 ** power;
    return `${figure(size, Number.isInteger(size) ? 0 : 1)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
  }
  const short = (value) => figure(value, Math.max(0, -Math.floor(Math.log10(value) + 1e-9)));
  const places = (step) => {
    let decimals = 0;
    while (decimals < 9 && Math.abs(step * 10 ** decimals - Math.round(step * 10 ** decimals)) > 1e-6) decimals++;
    return decimals;
  };
  function clock(value, step, span) {
    if (span < 180) return figure(value, places(step)) + " s";
    const whole = Math.abs(Math.round(value));
    const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
    const two = (part) => String(part).padStart(2, "0");
    return (value < 0 ? "−" : "") + (span >= 3600 ? `${h}:${two(m)}${step < 60 ? ":" + two(s) : ""}` : `${m}:${two(s)}`);
  }

  // As `clock` writes them; a chart that is zoomed into keeps the words of the whole.
  const form = (chart) => {
    if (chart.kind !== "elapsed_s") return "";
    const span = chart.x.length ? chart.x[chart.x.length - 1] - chart.x[0] : 0;
    return span < 180 ? "" : span < 3600 ? ", m:ss" : ", h:mm";
  };
  const muted = (chart) => chart.series.filter((one) => one.tone === "muted").length;
  const crowded = (chart) => muted(chart) > 3; // grey lines, which their names would not tell apart
  const words = document.body.dataset;

  function tones(chart) {
    let next = 0;
    const plain = chart.series.filter((one) => one.tone === "" && one.style !== "band").length;
    return chart.series.map((one) => {
      if (one.tone === "muted") return { stroke: colour("line-muted"), dash: [], width: 1 };
      if (one.tone === "accent") return { stroke: colour("accent"), dash: [], width: 2 };
      if (one.tone === "culprit") return { stroke: colour("culprit"), dash: [], width: 2.5 };
      if (one.tone === "bad") return { stroke: colour("bad"), dash: [6, 2], width: 2 };
      if (one.style === "band") return { stroke: colour("band"), dash: [], width: 1 };
      const at = next++ % dashes.length;
      return { stroke: colour(`c${at + 1}`), dash: plain > 1 ? dashes[at] : [], width: 1.5 };
    });
  }

  function seriesOf(chart, looks, bands) {
    const series = [{ label: chart.kind === "elapsed_s" ? words.at : chart.x_label || words.at, value: (u, v) => (v == null ? "" : horizontal(chart, v)) }];
    const data = [chart.x];
    chart.series.forEach((one, index) => {
      const look = looks[index];
      const base = {
        label: one.label,
        spanGaps: chart.joined,
        stroke: look.stroke,
        width: look.width * scale(),
        dash: look.dash.map((length) => length * scale()),
        value: (u, v) => figure(v),
        points: { size: 5 * scale(), fill: look.stroke },
      };
      if (one.style === "points") Object.assign(base, { paths: () => null, points: { show: true, size: 6 * scale(), fill: look.stroke }, class: "u-dots" });
      if (one.style === "bars") Object.assign(base, { paths: uPlot.paths.bars({ size: [0.86, 60 * scale()] }), fill: look.stroke, width: 0, points: { show: false }, class: "u-area" });
      if (one.style === "band") {
        const at = data.length;
        Object.assign(base, { width: 0, points: { show: false }, class: "u-area" });
        base.value = (u, v, s, i) => (v == null ? "" : `${figure(v)} to ${figure(u.data[at + 1][i])}`);
        series.push(base, { ...base, class: "u-hidden", value: () => "" });
        data.push(one.values, one.upper);
        bands.push({ series: [at + 1, at], fill: look.stroke });
        return;
      }
      if (one.tone === "muted" && crowded(chart)) base.class = "u-hidden";
      series.push(base);
      data.push(one.values);
    });
    return [series, data];
  }

  function horizontal(chart, value) {
    if (chart.kind === "category") return chart.categories[value] === undefined ? "" : chart.categories[value];
    if (chart.kind === "elapsed_s") return clock(value, 1, Math.max(...chart.x.map(Math.abs)));
    if (chart.kind === "bytes") return bytes(value);
    return Number.isInteger(value) ? figure(value, 0) : figure(value);
  }

  // The ends of a logarithmic axis, with some room, and its ticks: powers of the base, of 10 also 2 and 5 times.
  function decades(values) {
    const above = values.filter((value) => value > 0);
    if (!above.length) return [1, 10];
    return [Math.min(...above) / 1.25, Math.max(...above) * 1.25];
  }
  function ticks(low, high, base, most) {
    const [first, last] = [Math.floor(Math.log(low) / Math.log(base)), Math.ceil(Math.log(high) / Math.log(base))];
    const digits = base === 10 && (last - first) * 3 <= most ? [1, 2, 5] : [1];
    const every = Math.max(1, Math.ceil((last - first) / most));
    const found = [];
    for (let power = first; power <= last; power++)
      if (digits.length > 1 || power % every === 0) found.push(...digits.map((digit) => digit * base ** power));
    return found.filter((value) => value >= low && value <= high);
  }
  const logarithmic = (base, room, label) => ({
    splits: (u, axis, low, high) => ticks(low, high, base, (room < 64 ? u.height : u.width) / scale() / room),
    filter: (u, splits) => splits,
    values: (u, splits) => splits.map(label),
  });

  function range(chart) {
    return (u, low, high) => {
      const levels = chart.levels.map((one) => one.value).filter((value) => value !== null);
      const all = [low, high, ...levels, ...(chart.from_zero ? [0] : [])].filter((value) => value != null);
      if (chart.y_log) return decades(all);
      if (!all.length) return [0, 1];
      const [min, max] = [Math.min(...all), Math.max(...all)];
      const room = (max - min) * 0.08 || Math.abs(max) * 0.05 || 0.5;
      return [min >= 0 && (chart.from_zero || min - room < 0) ? 0 : min - room, max + room];
    };
  }

  function axes(chart, wide) {
    const font = `${11 * scale()}px system-ui, sans-serif`;
    const common = () => ({
      font,
      labelFont: font,
      stroke: () => colour("ink-soft"),
      grid: { stroke: () => colour("grid"), width: scale() },
      ticks: { stroke: () => colour("grid"), width: scale(), size: 5 * scale() },
      gap: 4 * scale(),
    });
    const x = Object.assign(common(), {
      space: (chart.kind === "category" ? Math.max(40, ...chart.categories.map((one) => one.length * 7 + 8)) : 64) * scale(),
      size: 26 * scale(),
      label: chart.kind === "elapsed_s" ? `${chart.x_label || words.time}${form(chart)}` : chart.x_label || undefined,
      labelSize: 18 * scale(),
      incrs: chart.kind === "elapsed_s" ? seconds : chart.kind === "category" || chart.x.every(Number.isInteger) ? counts : undefined,
      values: (u, splits, axis, space, step) =>
        splits.map((value) => {
          if (chart.kind === "category") return chart.categories[value] || "";
          if (chart.kind === "elapsed_s") return clock(value, step, u.scales.x.max - u.scales.x.min);
          return figure(value, places(step));
        }),
    });
    const y = Object.assign(common(), {
      space: 34 * scale(),
      values: (u, splits, axis, space, step) => splits.map((value) => figure(value, places(step))),
      size: (u, values) => Math.max(30, ...(values || []).map((text) => text.length * 6.6 + 14)) * scale(),
    });
    if (chart.x_log) Object.assign(x, logarithmic(chart.kind === "bytes" ? 2 : 10, 72, (value) => (chart.kind === "bytes" ? bytes(value) : short(value))));
    if (chart.y_log) Object.assign(y, logarithmic(10, 24, short));
    return [x, y];
  }

  function hatch(context, left, top, width, height, stroke, step) {
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.beginPath();
    for (let at = left - height; at < left + width; at += step) {
      context.moveTo(at, top + height);
      context.lineTo(at + height, top);
    }
    context.strokeStyle = stroke;
    context.globalAlpha = 0.45;
    context.lineWidth = scale();
    context.stroke();
    context.restore();
  }

  const tint = (mark) => colour(mark.tone === "bad" ? "bad" : mark.tone === "accent" ? "accent" : "mark");

  function regions(chart) {
    return (u) => {
      const { left, top, width, height } = u.bbox;
      for (const mark of chart.marks) {
        if (mark.end === null || mark.begin === null) continue;
        const from = Math.max(left, u.valToPos(mark.begin, "x", true));
        const to = Math.min(left + width, u.valToPos(mark.end, "x", true));
        if (to <= left || from >= left + width) continue;
        u.ctx.globalAlpha = 0.14;
        u.ctx.fillStyle = tint(mark);
        u.ctx.fillRect(from, top, Math.max(1, to - from), height);
        u.ctx.globalAlpha = 1;
        if (mark.tone !== "") hatch(u.ctx, from, top, Math.max(1, to - from), height, tint(mark), 7 * scale());
      }
    };
  }

  function overlays(chart) {
    return (u) => {
      const { left, top, width, height } = u.bbox;
      const context = u.ctx;
      const ends = {};
      context.save();
      context.lineWidth = scale();
      context.textAlign = "center";
      context.font = `600 ${Math.round(10 * scale() * devicePixelRatio)}px system-ui, sans-serif`;
      for (const mark of chart.marks) {
        if (mark.begin === null) continue;
        const from = u.valToPos(mark.begin, "x", true);
        const to = mark.end === null ? from : u.valToPos(mark.end, "x", true);
        if (to < left || from > left + width) continue;
        if (mark.end === null) {
          context.setLineDash([3 * scale(), 3 * scale()]);
          context.strokeStyle = tint(mark);
          context.beginPath();
          context.moveTo(Math.round(from) + 0.5, top);
          context.lineTo(Math.round(from) + 0.5, top + height);
          context.stroke();
        }
        // Signs that would run into each other are left out: the key says what the marks are.
        const middle = (Math.max(left, from) + Math.min(left + width, to)) / 2;
        const half = context.measureText(mark.sign).width / 2;
        if (mark.sign && middle - half > (ends[""] || -Infinity)) {
          context.fillStyle = tint(mark);
          context.fillText(mark.sign, middle, top - 4 * scale());
          ends[""] = middle + half + 4 * scale();
        }
      }
      for (const level of chart.levels) {
        if (level.value === null) continue;
        const at = Math.round(u.valToPos(level.value, "y", true)) + 0.5;
        context.setLineDash(level.kind === "bound" ? [9 * scale(), 4 * scale()] : [2 * scale(), 3 * scale()]);
        context.strokeStyle = colour(level.kind === "bound" ? "ink" : "ink-soft");
        context.lineWidth = 1.5 * scale();
        context.beginPath();
        context.moveTo(left, at);
        context.lineTo(left + width, at);
        context.stroke();
      }
      context.restore();
    };
  }

  // What the marks and levels are; a line or an area as they are drawn, the sign, and the words.
  function key(chart) {
    const list = make("ul", "key");
    const seen = new Set();
    const add = (kind, sign, label) => {
      if (seen.has(`${kind} ${sign} ${label}`)) return;
      seen.add(`${kind} ${sign} ${label}`);
      const item = make("li", "");
      item.append(make("span", `swatch ${kind}`), ...(sign ? [make("b", "", sign)] : []), label);
      list.append(item);
    };
    if (crowded(chart)) add("line-muted", "", (muted(chart) < chart.series.length ? words.others : words.all).replace("{n}", muted(chart)));
    chart.levels.forEach((one) => add(`level-${one.kind}`, "", one.label));
    chart.marks.forEach((one) => add(`${one.end === null ? "line" : "area"} tone-${one.tone || "plain"}`, one.sign, one.label));
    return list.childElementCount ? list : null;
  }

  function draw(element) {
    const chart = charts[element.id];
    const width = print.on ? (element.closest(".two") ? print.half : print.width) * print.scale : element.clientWidth;
    if (!chart || !width) return;
    forget(element);
    const bands = [];
    const looks = tones(chart);
    const [series, data] = seriesOf(chart, looks, bands);
    const discrete = chart.kind === "category" || chart.series.some((one) => one.style === "bars");
    const gap = chart.x.length > 1 ? chart.x[1] - chart.x[0] : 1;
    const spread = (u, low, high) => {
      if (low == null) return chart.x_log ? [1, 10] : [0, 1];
      if (chart.x_log) return decades([low, high]);
      if (discrete) return [low - gap * 0.6, high + gap * 0.6];
      return low === high ? [low - 1, high + 1] : [low, high];
    };
    const options = {
      width,
      height: (element.clientWidth < narrow && !print.on ? 200 : 230) * scale(),
      padding: [(chart.marks.some((one) => one.sign) ? 18 : 8) * scale(), 24 * scale(), 0, 0],
      scales: {
        x: { time: false, range: spread, distr: chart.x_log ? 3 : 1 },
        y: { range: range(chart), distr: chart.y_log ? 3 : 1 },
      },
      axes: axes(chart),
      series,
      bands,
      focus: { alpha: chart.series.length > 4 ? 0.25 : 1 },
      cursor: { focus: { prox: 24 }, points: { size: 6 }, ...(chart.group ? { sync: { key: chart.group } } : {}) },
      legend: {
        show: true,
        markers: {
          dash: (u, at) => (u.series[at].dash && u.series[at].dash.length ? (u.series[at].dash[0] > 3 * scale() ? "dashed" : "dotted") : "solid"),
          width: (u, at) => (u.series[at].class === "u-dots" ? 0 : 2),
          fill: (u, at) => (!["u-area", "u-dots"].includes(u.series[at].class) ? "transparent" : u.series[at].stroke(u, at)),
        },
      },
      hooks: { drawClear: [regions(chart)], draw: [overlays(chart)] },
    };
    drawn.set(element, new uPlot(options, data, element));
    const said = key(chart);
    if (said) element.append(said);
    element.dataset.drawn = chart.x.length ? "yes" : "empty";
    element.dataset.colours = JSON.stringify(looks.map((look) => look.stroke));
  }

  function forget(element) {
    if (drawn.has(element)) drawn.get(element).destroy();
    drawn.delete(element);
    element.replaceChildren();
  }

  // The numbers behind a tile of a heat map, while it has the focus; the arrow keys go from tile to tile.
  function heat(figure) {
    const details = figure.querySelector(".details");
    const rows = [...figure.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll("td")].map((cell) => cell.querySelector(".tile")));
    const tiles = rows.flat().filter(Boolean);
    const show = (tile) => {
      tiles.forEach((one) => { one.tabIndex = one === tile ? 0 : -1; });
      details.replaceChildren(...tile.dataset.details.split("\n").flatMap((line) => {
        const [name, ...rest] = line.split("\t");
        return [make("dt", "", name), make("dd", "pre", rest.join(" "))];
      }));
      details.hidden = false;
    };
    tiles.forEach((tile, at) => {
      tile.tabIndex = at ? -1 : 0;
      tile.addEventListener("focus", () => show(tile));
      tile.addEventListener("click", () => tile.focus());
    });
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    figure.addEventListener("keydown", (event) => {
      if (!step[event.key] || !event.target.classList.contains("tile")) return;
      event.preventDefault();
      let row = rows.findIndex((line) => line.includes(event.target));
      let column = rows[row].indexOf(event.target);
      const [down, right] = step[event.key];
      do [row, column] = [row + down, column + right];
      while (rows[row] && column in rows[row] && !rows[row][column]);
      if (rows[row] && rows[row][column]) rows[row][column].focus();
    });
  }

  const everywhere = (within) => within.querySelectorAll(".plot");
  const drawAll = (within, again) => everywhere(within).forEach((element) => (again || !drawn.has(element)) && draw(element));
  const redraw = () => [...drawn.keys()].forEach(draw);

  const resized = new ResizeObserver((entries) => {
    if (print.on) return;
    for (const { target } of entries) {
      const chart = drawn.get(target);
      if (!target.clientWidth) continue;
      if (!chart) draw(target);
      else if (chart.width !== target.clientWidth) chart.setSize({ width: target.clientWidth, height: target.clientWidth < narrow ? 200 : 230 });
    }
  });

  function printing(on) {
    if (print.on === on) return;
    print.on = on;
    root.classList.toggle("printing", on);
    redraw();
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => printing(true));
  addEventListener("afterprint", () => printing(false));
  // A closed part has no width; its charts are drawn when it is opened.
  document.addEventListener("toggle", (event) => event.target.open && drawAll(event.target), true);
  const openTarget = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", openTarget);
  openTarget();
  document.querySelectorAll("figure.heat").forEach(heat);
  drawAll(document);
  everywhere(document).forEach((element) => resized.observe(element));
})();
