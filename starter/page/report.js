// Draws a report's timeline: panels that share one time axis, one cursor and one zoom.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const line = data.timeline;
  const root = document.getElementById("charts");
  if (!line || !line.at_s.length) return;

  // --- what there is ---------------------------------------------------------------------------

  const at = line.at_s;
  const last = at.length - 1;
  const beginsMs = Date.parse(line.from_at);
  const whole = { from: 0, to: Math.max((Date.parse(line.to_at) - beginsMs) / 1000, at[last], 1) };
  // Idle governors write every ten seconds; a longer silence is a gap, and is drawn as one.
  const gap = Math.max(line.bucket_s * 2.5, 12);
  const series = new Map(line.series.map((one) => [one.name, one]));
  const since = (moment) => (Date.parse(moment) - beginsMs) / 1000;
  const marks = data.happenings.map((one) => ({ at: since(one.at), text: one.what + (one.detail ? ": " + one.detail : "") }));
  const paused = data.paused.map(([from, to]) => [since(from), to ? since(to) : whole.to]);
  const edges = [since(data.started_at)].concat(data.ended_at ? [since(data.ended_at)] : []);
  const MOMENTS_MIN = 4; // in view, however far somebody zooms
  const STEPS_MIN = 8; // a curve of fewer partitions tells when they ended, and nothing of the pace

  const view = { from: whole.from, to: whole.to };
  let cursor = null; // a place in `at`
  let isUtc = true;
  let isLog = true;

  // --- panels ----------------------------------------------------------------------------------

  const latency = (op, title) => ({
    title, unit: "ms, canary operations per second", height: 196, canLog: true, shaded: true,
    lines: [
      { of: op + "-max", label: "slowest", colour: "gray", style: "thin", pick: "high" },
      { of: op + "-p99", label: "p99 of ten seconds", colour: "purple", style: "dashed", band: true },
      { of: op + "-p90", label: "p90", colour: "orange", band: true },
      { of: op + "-p50", label: "median", colour: "blue", style: "strong" },
      { of: op + "-p90 without", label: "p90 without us", colour: "green", style: "dots" },
    ],
    limits: [{ of: op + "-p99 limit", label: "p99 limit" }],
  });
  const signals = line.series.filter((one) => one.name.startsWith("signal "));
  const peak = (one) => Math.max(...(one.high.length ? one.high : one.mid).map((value) => value ?? 0));
  const SIGNAL_COLOURS = ["orange", "blue", "green", "purple", "amber", "sky", "gray"];
  const nearest = signals.map((one) => [peak(one), one]).sort((a, b) => b[0] - a[0]).slice(0, SIGNAL_COLOURS.length);

  const PANELS = [
    latency("read", "Reads"),
    latency("write", "Writes"),
    { title: "Governor", unit: "zone and gate", height: 84, strip: true },
    {
      title: "Signals", unit: "as a part of their limits: at 1 the gate shuts", height: 132, shaded: true, cap: 2, floor: 1.1, fixed: 1,
      lines: nearest.map(([, one], place) => ({
        of: one.name, label: one.name.slice(7), colour: SIGNAL_COLOURS[place], style: place % 2 ? "dashed" : "", pick: "high",
      })),
    },
    {
      title: "Budget", unit: "seconds of work per second", height: 132, shaded: true,
      lines: [
        { of: "used", label: "used by this job", colour: "green", style: "area" },
        { of: "used-by-others", label: "used by other jobs", colour: "gray", style: "dashed", unlessZero: true },
        { of: "share", label: "this job's share", colour: "purple", style: "dashed" },
        { of: "duty", label: "budget of all jobs", colour: "blue" },
      ],
    },
    { title: "Page hold time", unit: "ms allowed", height: 84, shaded: true, lines: [{ of: "hold", label: "hold", colour: "amber" }] },
    { title: "Documents per second", unit: "of this job", height: 84, shaded: true, lines: [{ of: "docs-per-s", label: "documents", colour: "green", band: true }] },
    {
      title: "Operations", unit: "per second", height: 132, shaded: true,
      lines: [
        { of: "own-ops", label: "ours", colour: "green", band: true },
        { of: "foreground-ops", label: "the foreground's", colour: "blue", band: true },
      ],
    },
    {
      title: "Our share in the foreground's tail", unit: "beside us ÷ in blank windows, with an 80 % interval", height: 110, shaded: true, line: 1,
      lines: [{ of: "own-ratio", label: "ratio", colour: "purple", between: ["own-low", "own-high"] }],
    },
    {
      title: "Documents", unit: "passed, in the partitions written last by then", height: 110, shaded: true,
      lines: [{ label: "documents", colour: "green", style: "area", points: data.steps, whole: true }],
    },
  ];

  const has = (one) => {
    if (one.points) return one.points.length >= STEPS_MIN;
    const found = series.get(one.of);
    if (!found || !found.mid.some((value) => value !== null)) return false;
    return !one.unlessZero || found.mid.some((value) => value);
  };
  for (const panel of PANELS) {
    panel.lines = (panel.lines || []).filter(has);
    panel.limits = (panel.limits || []).filter(has);
  }
  const panels = PANELS.filter((panel) => panel.strip || panel.lines.length);

  // --- small parts -----------------------------------------------------------------------------

  const html = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const svgSpace = document.getElementById("defs").namespaceURI;
  const svg = (tag, attributes = {}, text = "") => {
    const made = document.createElementNS(svgSpace, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text) made.textContent = text;
    return made;
  };
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const figure = (value) => {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size >= 1e6) return (value / 1e6).toPrecision(3) + "M";
    if (size >= 1e4) return (value / 1e3).toPrecision(3) + "k";
    if (size >= 100) return value.toFixed(0);
    if (size === 0) return "0";
    return size < 0.001 ? value.toExponential(0) : String(Number(value.toPrecision(3)));
  };
  const pad = (value) => String(value).padStart(2, "0");
  const shifted = (ms) => new Date(isUtc ? ms : ms - new Date(ms).getTimezoneOffset() * 60000);
  const day = (ms) => { const d = shifted(ms); return d.getUTCFullYear() + "-" + pad(d.getUTCMonth() + 1) + "-" + pad(d.getUTCDate()); };
  const clock = (ms, seconds = true) => { const d = shifted(ms); return pad(d.getUTCHours()) + ":" + pad(d.getUTCMinutes()) + (seconds ? ":" + pad(d.getUTCSeconds()) : ""); };
  const zoneName = () => (isUtc ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone || "local time");
  const lasting = (seconds) => {
    if (seconds < 120) return Math.round(seconds) + " s";
    if (seconds < 7200) return Math.round(seconds / 60) + " min";
    return seconds < 172800 ? (seconds / 3600).toFixed(1) + " h" : (seconds / 86400).toFixed(1) + " d";
  };

  // Binary search: the first place whose moment is not before `seconds`.
  const placeOf = (seconds) => {
    let low = 0, high = at.length;
    while (low < high) { const middle = (low + high) >> 1; if (at[middle] < seconds) low = middle + 1; else high = middle; }
    return low;
  };
  const nearestPlace = (seconds) => {
    const after = clamp(placeOf(seconds), 0, last);
    return after > 0 && seconds - at[after - 1] < at[after] - seconds ? after - 1 : after;
  };
  // A sample sums up the time before it: ten seconds while no job is there, else one.
  const busyGap = Math.max(line.bucket_s * 1.5, 2.5);
  const beginOf = (place, reach) => (place && at[place] - at[place - 1] <= reach ? at[place - 1] : Math.max(at[place] - Math.min(reach, line.bucket_s), 0));

  // --- the page's parts ------------------------------------------------------------------------

  const button = (text, title, act) => { const made = html("button", { type: "button", title }, text); made.addEventListener("click", act); return made; };
  const keyOf = (shade, text) => {
    const picture = svg("svg", { viewBox: "0 0 22 14", "aria-hidden": "true" });
    picture.append(svg("rect", { width: 22, height: 14, class: "shade-" + shade }));
    return html("span", { class: "key" }, picture, text);
  };
  const resetButton = button("Whole time", "Double click does the same", () => look(whole.from, whole.to));
  const outButton = button("Zoom out", "", () => zoom(2));
  const utcButton = button("Times in UTC", "Switch between UTC and this browser's time zone", () => { isUtc = !isUtc; retime(); draw(); });
  const logBox = html("input", { type: "checkbox", checked: "" });
  logBox.addEventListener("change", () => { isLog = logBox.checked; draw(); });
  const readout = html("div", { class: "readout", "aria-live": "off" });
  const range = html("span", { class: "hint" });
  const keys = [keyOf("blank", "blank window: we stop"), keyOf("shut", "gate shut")].concat(paused.length ? [keyOf("paused", "job paused")] : []);
  root.append(
    html("div", { class: "tools" },
      html("div", { class: "row" }, resetButton, outButton, utcButton, html("label", {}, logBox, " latencies on a log scale"), ...keys, range),
      readout),
  );
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Plots over time. Drag to zoom, double click for the whole time. Arrow keys move the cursor, plus and minus zoom, 0 shows the whole time.");

  const LEFT = 52, RIGHT = 10, TOP = 6, AXIS = 20;
  let width = 800;
  const x = (seconds) => LEFT + ((seconds - view.from) / (view.to - view.from)) * (width - LEFT - RIGHT);
  const secondsAt = (pixels) => view.from + ((pixels - LEFT) / (width - LEFT - RIGHT)) * (view.to - view.from);

  for (const panel of panels) {
    panel.plot = svg("svg", { class: "plot", height: panel.height + TOP + AXIS, role: "img", "aria-label": panel.title + ", " + panel.unit });
    panel.legend = html("div", { class: "legend" });
    panel.outputs = [];
    for (const one of [...panel.lines].reverse().concat(panel.limits)) {
      const output = html("output", one.between || (one.band && series.get(one.of).high.length) ? { class: "ranged" } : {});
      panel.outputs.push([one, output]);
      panel.legend.append(html("span", {}, sampleOf(one, panel.limits.includes(one)), one.label, output));
    }
    if (panel.strip) for (const zone of line.zones) panel.legend.append(html("span", {}, swatch(zone), zone));
    root.append(html("div", { class: "panel" }, html("h3", {}, panel.title), html("span", { class: "unit" }, panel.unit), panel.legend, panel.plot));
  }

  function sampleOf(one, isLimit) {
    const picture = svg("svg", { viewBox: "0 0 24 10", "aria-hidden": "true" });
    if (isLimit) picture.append(svg("path", { d: "M0 5H24", class: "limit" }));
    else if (one.style === "dots") picture.append(svg("circle", { cx: 12, cy: 5, r: 3, class: "dot f-" + one.colour }));
    else {
      if (one.style === "area") picture.append(svg("rect", { y: 5, width: 24, height: 5, class: "area f-" + one.colour }));
      picture.append(svg("path", { d: "M0 5H24", class: "line c-" + one.colour + " " + (one.style || "") }));
    }
    return picture;
  }
  function zoneClass(zone) { return "z-" + (/^(idle|quiet|grow|keep|shed|stop|floor|blank)$/.test(zone) ? zone : "other"); }
  function swatch(zone) {
    const picture = svg("svg", { viewBox: "0 0 24 10", "aria-hidden": "true" });
    picture.append(svg("rect", { width: 24, height: 10, rx: 2, class: zoneClass(zone) }));
    return picture;
  }

  // --- axes ------------------------------------------------------------------------------------

  const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800];
  function timeTicks() {
    const room = Math.max(2, Math.floor((width - LEFT - RIGHT) / 88));
    const step = TIME_STEPS.find((one) => (view.to - view.from) / one <= room) || 604800;
    const zone = shifted(beginsMs) - beginsMs;
    const found = [];
    for (let ms = Math.ceil((beginsMs + view.from * 1000 + zone) / (step * 1000)) * step * 1000 - zone; ms <= beginsMs + view.to * 1000; ms += step * 1000) {
      const isMidnight = clock(ms) === "00:00:00";
      found.push([(ms - beginsMs) / 1000, isMidnight ? day(ms).slice(5) : clock(ms, step < 60)]);
    }
    return found;
  }

  function linearScale(low, high, panel) {
    const top = TOP, bottom = TOP + panel.height;
    const wanted = Math.max(2, Math.floor(panel.height / 34));
    const rough = (high - low) / wanted || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999);
    const first = Math.floor(low / step + 1e-9) * step, upto = Math.ceil(high / step - 1e-9) * step || step;
    const ticks = [];
    for (let value = first; value <= upto + step / 2; value += step) ticks.push(Number(value.toPrecision(12)));
    return { ticks, y: (value) => bottom - ((clamp(value, first, upto) - first) / (upto - first)) * (bottom - top) };
  }
  function logScale(low, high, panel) {
    const top = TOP, bottom = TOP + panel.height;
    const nice = [];
    for (let power = -3; power < 7; power++) for (const one of [1, 2, 5]) nice.push(one * 10 ** power);
    const first = nice.filter((one) => one <= low * 1.0001).pop() || 0.001;
    const upto = nice.find((one) => one >= high * 0.9999 && one > first) || first * 10;
    let ticks = nice.filter((one) => one >= first * 0.999 && one <= upto * 1.001);
    if (ticks.length > panel.height / 22) ticks = ticks.filter((one) => Math.abs(Math.log10(one) % 1) < 1e-6);
    const span = Math.log(upto / first);
    return { ticks: ticks.map((one) => Number(one.toPrecision(3))), y: (value) => bottom - (Math.log(clamp(value, first, upto) / first) / span) * (bottom - top) };
  }

  const valuesOf = (one) => { const found = series.get(one.of); return one.pick === "high" && found.high.length ? found.high : found.mid; };

  function extent(panel, from, to) {
    let low = Infinity, high = -Infinity;
    const see = (value) => { if (value !== null && value !== undefined) { if (value < low) low = value; if (value > high) high = value; } };
    for (const one of panel.lines) {
      if (one.points) { for (const [seconds, value] of one.points) if (seconds >= view.from && seconds <= view.to) see(value); continue; }
      const found = series.get(one.of), values = valuesOf(one);
      const uppers = one.between ? series.get(one.between[1]).mid : one.band && found.high.length ? found.high : values;
      const lowers = one.between ? series.get(one.between[0]).mid : values;
      for (let place = from; place <= to; place++) { see(uppers[place]); see(lowers[place]); }
    }
    for (const one of panel.limits) for (let place = from; place <= to; place++) see(series.get(one.of).mid[place]);
    if (low > high) { low = 0; high = 1; }
    return [low, high];
  }

  function scaleOf(panel, from, to) {
    let [low, high] = extent(panel, from, to);
    if (panel.canLog && isLog) return logScale(Math.max(low, 0.001), Math.max(high, low * 2, 0.01), panel);
    if (panel.cap) high = clamp(high, panel.floor, panel.cap);
    if (panel.line !== undefined) return linearScale(Math.min(low, panel.line - 0.2), Math.max(high, panel.line + 0.2), panel);
    return linearScale(0, high, panel);
  }

  // --- drawing ---------------------------------------------------------------------------------

  // The places where one unbroken piece of a line begins and ends.
  function pieces(values, from, to) {
    const found = [];
    let first = -1;
    for (let place = from; place <= to + 1; place++) {
      const isThere = place <= to && values[place] !== null && values[place] !== undefined;
      const isBroken = first >= 0 && place <= to && at[place] - at[place - 1] > gap;
      if (first >= 0 && (!isThere || isBroken)) { found.push([first, place - 1]); first = -1; }
      if (isThere && first < 0) first = place;
    }
    return found;
  }
  const round = (pixels) => Math.round(pixels * 10) / 10;
  function pathOf(values, scale, from, to) {
    let path = "";
    for (const [first, upto] of pieces(values, from, to)) {
      for (let place = first; place <= upto; place++) path += (place === first ? "M" : "L") + round(x(at[place])) + " " + round(scale.y(values[place]));
      if (first === upto) path += "h.1";
    }
    return path;
  }
  function bandOf(lows, highs, scale, from, to) {
    let path = "";
    for (const [first, upto] of pieces(highs, from, to)) {
      if (first === upto) continue;
      for (let place = first; place <= upto; place++) path += (place === first ? "M" : "L") + round(x(at[place])) + " " + round(scale.y(highs[place]));
      for (let place = upto; place >= first; place--) path += "L" + round(x(at[place])) + " " + round(scale.y(lows[place]));
      path += "Z";
    }
    return path;
  }

  // Blank windows lie apart by nature: where there are too many to tell, their values are joined.
  const crowd = (values, from, to) => { let count = 0; for (let place = from; place <= to; place++) if (values[place] !== null) count++; return count; };
  function joined(values, scale, from, to) {
    let path = "";
    for (let place = from; place <= to; place++) if (values[place] !== null) path += (path ? "L" : "M") + round(x(at[place])) + " " + round(scale.y(values[place]));
    return path;
  }
  function drawLine(group, one, scale, from, to) {
    if (one.points) return drawSteps(group, one, scale);
    const found = series.get(one.of), values = valuesOf(one);
    if (one.style === "dots" && crowd(values, from, to) > (width - LEFT) / 9) {
      group.append(svg("path", { d: joined(values, scale, from, to), class: "line c-" + one.colour }));
      return;
    }
    if (one.style === "dots") {
      for (let place = from; place <= to; place++) {
        if (values[place] !== null) group.append(svg("circle", { cx: round(x(at[place])), cy: round(scale.y(values[place])), r: 2.6, class: "dot f-" + one.colour }));
      }
      return;
    }
    if (one.between) group.append(svg("path", { d: bandOf(series.get(one.between[0]).mid, series.get(one.between[1]).mid, scale, from, to), class: "band f-" + one.colour }));
    if (one.band && found.high.length) group.append(svg("path", { d: bandOf(found.low, found.high, scale, from, to), class: "band f-" + one.colour }));
    if (one.style === "area") group.append(svg("path", { d: bandOf(values.map((value) => (value === null ? null : 0)), values, scale, from, to), class: "area f-" + one.colour }));
    group.append(svg("path", { d: pathOf(values, scale, from, to), class: "line c-" + one.colour + " " + (one.style || "") }));
  }
  function drawSteps(group, one, scale) {
    let path = "M" + x(one.points[0][0]) + " " + scale.y(0), before = 0;
    for (const [seconds, value] of one.points) { path += "L" + round(x(seconds)) + " " + round(scale.y(before)) + "L" + round(x(seconds)) + " " + round(scale.y(value)); before = value; }
    const end = x(one.points[one.points.length - 1][0]);
    group.append(svg("path", { d: path + "L" + round(end) + " " + scale.y(0) + "Z", class: "area f-" + one.colour }));
    group.append(svg("path", { d: path, class: "line c-" + one.colour }));
  }

  // Runs of places with the same value, so that a long shut gate is one rectangle and not a thousand.
  function runs(values, from, to, reach, act) {
    let first = from;
    for (let place = from + 1; place <= to + 1; place++) {
      if (place <= to && values[place] === values[first] && at[place] - at[place - 1] <= reach) continue;
      act(values[first], Math.max(beginOf(first, reach), view.from), Math.min(at[place - 1], view.to));
      first = place;
    }
  }
  // A second of every minute is not to veil the whole minute.
  const seen = (part) => (part > 0.2 ? Math.max(part, 0.4) : part);
  function shade(group, panel, from, to) {
    shadeRow(group, TOP, panel.height, from, to);
    for (const [begin, end] of paused) {
      if (end > view.from && begin < view.to) group.append(svg("rect", { x: x(Math.max(begin, view.from)), y: TOP, width: Math.max(x(Math.min(end, view.to)) - x(Math.max(begin, view.from)), 0.6), height: panel.height, class: "shade-paused" }));
    }
  }

  function drawStrip(group, from, to) {
    const rows = { zone: TOP + 2, gate: TOP + 34, told: TOP + 64 };
    runs(line.zone, from, to, gap, (zone, begin, end) => {
      const room = x(end) - x(begin);
      group.append(svg("rect", { x: x(begin), y: rows.zone, width: Math.max(room, 0.6), height: 24, class: zoneClass(line.zones[zone]) }));
      if (room > 44) group.append(svg("text", { x: x(begin) + 5, y: rows.zone + 16, class: "on-band" }, line.zones[zone]));
    });
    group.append(svg("rect", { x: LEFT, y: rows.gate, width: width - LEFT - RIGHT, height: 20, class: "frame" }));
    shadeRow(group, rows.gate, 20, from, to);
    for (const mark of marks) {
      if (mark.at < view.from || mark.at > view.to) continue;
      const place = x(mark.at), made = svg("path", { d: "M" + (place - 5) + " " + (rows.told + 12) + "h10l-5 -9z", class: "mark-head" });
      made.append(svg("title", {}, mark.text));
      group.append(made);
    }
    for (const [name, row] of [["zone", rows.zone + 16], ["gate", rows.gate + 14], ["orders", rows.told + 12]]) group.append(svg("text", { x: LEFT - 6, y: row, "text-anchor": "end" }, name));
  }
  function shadeRow(group, y, height, from, to) {
    for (const [name, parts] of [["blank", line.blank], ["shut", line.shut]]) {
      runs(parts, from, to, busyGap, (part, begin, end) => {
        if (part > 0 && end > begin) group.append(svg("rect", { x: x(begin), y, width: Math.max(x(end) - x(begin), 0.6), height, class: "shade-" + name, opacity: seen(part) }));
      });
    }
  }

  let clips = 0;
  function drawPanel(panel, from, to, ticks) {
    const plot = panel.plot, bottom = TOP + panel.height;
    plot.setAttribute("viewBox", "0 0 " + width + " " + (panel.height + TOP + AXIS));
    plot.replaceChildren();
    panel.clip = panel.clip || "clip-" + ++clips;
    const clip = svg("clipPath", { id: panel.clip });
    clip.append(svg("rect", { x: LEFT, y: 0, width: width - LEFT - RIGHT, height: bottom + 1 }));
    plot.append(clip);
    if (panel.shaded) { const group = svg("g"); shade(group, panel, from, to); plot.append(group); }
    for (const [seconds, text] of ticks) {
      const place = round(x(seconds));
      plot.append(svg("path", { d: "M" + place + " " + TOP + "V" + bottom, class: "grid" }));
      const isLast = place > width - RIGHT - 24;
      plot.append(svg("text", { x: isLast ? width - 2 : place, y: bottom + 14, "text-anchor": isLast ? "end" : "middle" }, text));
    }
    const lines = svg("g", { "clip-path": "url(#" + panel.clip + ")" });
    if (panel.strip) drawStrip(plot, from, to);
    else {
      const scale = scaleOf(panel, from, to);
      for (const value of scale.ticks) {
        const place = round(scale.y(value));
        plot.append(svg("path", { d: "M" + LEFT + " " + place + "H" + (width - RIGHT), class: "grid" }));
        plot.append(svg("text", { x: LEFT - 6, y: place + 4, "text-anchor": "end" }, (panel.cap === value ? "≥ " : "") + figure(value)));
      }
      for (const value of [panel.fixed, panel.line]) {
        if (value !== undefined) lines.append(svg("path", { d: "M" + LEFT + " " + scale.y(value) + "H" + (width - RIGHT), class: value === panel.fixed ? "limit" : "edge" }));
      }
      for (const one of panel.limits) lines.append(svg("path", { d: pathOf(series.get(one.of).mid, scale, from, to), class: "limit" }));
      for (const one of panel.lines) drawLine(lines, one, scale, from, to);
    }
    for (const edge of edges) if (edge > view.from && edge < view.to) lines.append(svg("path", { d: "M" + x(edge) + " " + TOP + "V" + bottom, class: "edge" }));
    plot.append(lines);
    if (!panel.strip) plot.append(svg("path", { d: "M" + LEFT + " " + TOP + "V" + bottom + "H" + (width - RIGHT), class: "frame" }));
    panel.brush = svg("rect", { y: TOP, height: panel.height, width: 0, class: "brush" });
    panel.cursor = svg("path", { d: "M0 " + TOP + "V" + bottom, class: "cursor", visibility: "hidden" });
    plot.append(panel.brush, panel.cursor);
  }

  function draw() {
    const from = clamp(placeOf(view.from) - 1, 0, last), to = clamp(placeOf(view.to), 0, last);
    const ticks = timeTicks();
    for (const panel of panels) drawPanel(panel, from, to, ticks);
    const isWhole = view.from === whole.from && view.to === whole.to;
    resetButton.disabled = outButton.disabled = isWhole;
    range.textContent = lasting(view.to - view.from) + (isWhole ? " · drag to zoom" : " · double click: whole time");
    point();
  }

  // --- the cursor ------------------------------------------------------------------------------

  function point() {
    for (const panel of panels) {
      const isSeen = cursor !== null && at[cursor] >= view.from && at[cursor] <= view.to;
      panel.cursor.setAttribute("visibility", isSeen ? "visible" : "hidden");
      if (isSeen) panel.cursor.setAttribute("transform", "translate(" + x(at[cursor]) + " 0)");
      for (const [one, output] of panel.outputs) output.value = cursor === null ? "" : valueText(one);
    }
    readout.replaceChildren(...(cursor === null ? [beginning()] : present()));
  }
  function valueText(one) {
    if (one.points) { const passed = one.points.filter(([seconds]) => seconds <= at[cursor]); return figure(passed.length ? passed[passed.length - 1][1] : 0); }
    const found = series.get(one.of), value = valuesOf(one)[cursor];
    const [low, high] = one.between ? one.between.map((name) => series.get(name).mid[cursor]) : one.band && found.high.length ? [found.low[cursor], found.high[cursor]] : [null, null];
    return figure(value) + (value !== null && low !== null && low !== undefined && low !== high ? " (" + figure(low) + "–" + figure(high) + ")" : "");
  }
  function beginning() {
    const text = day(beginsMs) + " " + clock(beginsMs) + " to " + day(beginsMs + whole.to * 1000) + " " + clock(beginsMs + whole.to * 1000) + " " + zoneName();
    const each = line.bucket_s > 1 ? "; a moment is " + lasting(line.bucket_s) + ": lines are medians, bands least to greatest" : "";
    return html("span", { class: "soft" }, text + each + ". Point at a plot for its values.");
  }
  function present() {
    const ms = beginsMs + at[cursor] * 1000;
    const shut = line.shut[cursor], blank = line.blank[cursor];
    const part = (value) => (value < 1 ? " for " + Math.round(value * 100) + " % of the moment" : "");
    const gate = shut ? "gate shut" + part(shut) : blank ? "blank window" + part(blank) : "gate open";
    const near = marks.filter((mark) => Math.abs(x(mark.at) - x(at[cursor])) < 5).map((mark) => mark.text);
    const reason = line.reasons[line.reason[cursor]];
    const parts = [html("b", {}, day(ms) + " " + clock(ms)), " " + zoneName() + " · zone ", html("b", {}, line.zones[line.zone[cursor]]), " · ", html("b", {}, gate)];
    if (reason) parts.push(" · " + reason);
    for (const text of near) parts.push(" · ▲ " + text);
    return parts;
  }

  // --- zoom ------------------------------------------------------------------------------------

  function look(from, to) {
    const least = Math.min(Math.max(MOMENTS_MIN * line.bucket_s, 5), whole.to);
    const room = Math.max(to - from, least), middle = (from + to) / 2;
    view.from = clamp(middle - room / 2, whole.from, Math.max(whole.to - room, whole.from));
    view.to = Math.min(view.from + room, whole.to);
    draw();
  }
  function zoom(factor) {
    const middle = cursor !== null && at[cursor] > view.from && at[cursor] < view.to ? at[cursor] : (view.from + view.to) / 2;
    look(middle - (middle - view.from) * factor, middle + (view.to - middle) * factor);
  }

  let dragFrom = null;
  const pixelOf = (event, plot) => { const box = plot.getBoundingClientRect(); return clamp(((event.clientX - box.left) / box.width) * width, LEFT, width - RIGHT); };
  const brush = (one, other) => {
    for (const panel of panels) { panel.brush.setAttribute("x", Math.min(one, other)); panel.brush.setAttribute("width", Math.abs(one - other)); }
  };
  for (const { plot } of panels) {
    plot.addEventListener("pointerdown", (event) => { if (event.button === 0) { dragFrom = pixelOf(event, plot); plot.setPointerCapture(event.pointerId); } });
    plot.addEventListener("pointermove", (event) => {
      const pixel = pixelOf(event, plot);
      cursor = nearestPlace(secondsAt(pixel));
      if (dragFrom !== null) brush(dragFrom, pixel);
      point();
    });
    plot.addEventListener("pointerup", (event) => {
      if (dragFrom === null) return;
      const from = dragFrom, to = pixelOf(event, plot);
      dragFrom = null;
      brush(0, 0);
      if (Math.abs(to - from) > 6) look(secondsAt(Math.min(from, to)), secondsAt(Math.max(from, to)));
    });
    plot.addEventListener("pointercancel", () => { dragFrom = null; brush(0, 0); });
    plot.addEventListener("pointerleave", () => { if (dragFrom === null) { cursor = null; point(); } });
    plot.addEventListener("dblclick", () => look(whole.from, whole.to));
  }
  root.addEventListener("keydown", (event) => {
    if (event.target !== root || event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 20 : 1, here = cursor === null ? nearestPlace((view.from + view.to) / 2) : cursor;
    const acts = {
      ArrowLeft: () => { cursor = clamp(here - far, 0, last); follow(); },
      ArrowRight: () => { cursor = clamp(here + far, 0, last); follow(); },
      Home: () => { cursor = 0; follow(); },
      End: () => { cursor = last; follow(); },
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2),
      0: () => look(whole.from, whole.to),
      Escape: () => { cursor = null; look(whole.from, whole.to); },
    };
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  });
  function follow() {
    const room = view.to - view.from;
    if (at[cursor] < view.from || at[cursor] > view.to) look(at[cursor] - room / 2, at[cursor] + room / 2);
    else point();
  }

  // --- times in the tables ---------------------------------------------------------------------

  function retime() {
    utcButton.textContent = isUtc ? "Times in UTC" : "Times in " + zoneName();
    for (const one of document.querySelectorAll("time")) {
      const ms = Date.parse(one.getAttribute("datetime"));
      one.textContent = day(ms) + " " + clock(ms) + (isUtc ? " UTC" : "");
    }
  }

  new ResizeObserver(() => {
    const now = Math.max(320, Math.round(root.clientWidth));
    if (now !== width) { width = now; draw(); }
  }).observe(root);
  width = Math.max(320, Math.round(root.clientWidth));
  draw();
})();
