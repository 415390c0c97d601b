// Draws the maps. Everything is in this page: the index, and each array as 16 bit floats in base64.
"use strict";

const byId = (id) => document.getElementById(id);
const runs = JSON.parse(byId("index").textContent).runs;
const roleColours = {context: "#e4e4e4", special: "#bbbbbb", query: "#56b4e9", target: "#e69f00",
                     needle: "#f0e442", answer: "#009e73"};
const roleWords = {context: "context", special: "begin", query: "query", target: "target",
                   needle: "other needle", answer: "answer"};

// --- arrays ---------------------------------------------------------------------------------------

function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
const halves = Float32Array.from({length: 65536}, (_, bits) => halfToNumber(bits));

const decoded = new Map();  // file -> values; only the last few are kept
function valuesOf(file) {
  if (decoded.has(file)) return decoded.get(file);
  const bytes = atob(byId(file).textContent);
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; ++i) {
    values[i] = halves[bytes.charCodeAt(2 * i) | bytes.charCodeAt(2 * i + 1) << 8];
  }
  if (decoded.size >= 8) decoded.delete(decoded.keys().next().value);
  decoded.set(file, values);
  return values;
}

// The chosen head of a pane: its values [rows, columns] and where the window begins.
function headOf(pane) {
  const run = runs[pane.run], sample = run.samples[state.sample];
  const map = run.maps.find((m) => m.sample === sample.index && m.layer === pane.layer &&
                                   m.stage === pane.stage);
  if (!map) return null;
  const place = map.heads.indexOf(pane.head);
  if (place < 0) return null;
  const [, rows, columns] = map.shape;
  const all = valuesOf(map.file);
  return {all, values: all.subarray(place * rows * columns, (place + 1) * rows * columns), rows, columns,
          firstRow: sample.rows[0], firstColumn: sample.columns[0], sample};
}

// --- colours --------------------------------------------------------------------------------------

// White is 0, red positive, blue negative; the same distance from 0 is the same depth.
const reds = [[255, 255, 255], [253, 219, 199], [244, 165, 130], [214, 96, 77], [178, 24, 43], [103, 0, 31]];
const blues = [[255, 255, 255], [209, 229, 240], [146, 197, 222], [67, 147, 195], [33, 102, 172], [5, 48, 97]];
function colourOf(value, reach) {
  const stops = value < 0 ? blues : reds;
  const place = Math.min(Math.abs(value) / reach, 1) * (stops.length - 1);
  const below = Math.min(Math.floor(place), stops.length - 2), share = place - below;
  return stops[below].map((c, i) => c + (stops[below + 1][i] - c) * share);
}
const css = (rgb) => `rgb(${rgb.map(Math.round).join(",")})`;

function reachOf(values) {
  let reach = 0;
  for (const value of values) if (Math.abs(value) > reach && isFinite(value)) reach = Math.abs(value);
  return reach || 1;
}
// Runs of one sweep may share a name; their folders differ.
const runName = (run) => runs.some((other) => other !== run && other.name === run.name)
    ? run.run.split("/").filter((part) => part).pop() : run.name;
const shown = (value) => Number(value.toPrecision(3)).toString();

// --- state and choosers ---------------------------------------------------------------------------

const state = {sample: 0, row: null, scale: "head", panes: []};

// Where most of the attention is on the target, of all weights: what one wants to see first.
function bestView(run) {
  const weights = run.stages.slice(Math.max(run.stages.indexOf("softmax"), 0));
  let best = {share: -1, layer: run.layers[run.layers.length - 1], head: run.heads[0],
              stage: run.stages[run.stages.length - 1]};
  for (const {layer, stage, heads} of run.shares) {
    if (!weights.includes(stage)) continue;
    heads.forEach((share, head) => {
      if (share > best.share && run.heads.includes(head)) best = {share, layer, head, stage};
    });
  }
  return best;
}

function newPane(run) {
  const {layer, head, stage} = bestView(runs[run]);
  return {run, layer, head, stage};
}

function fill(select, options, value) {
  select.replaceChildren(...options.map(([v, text]) => new Option(text, v, false, String(v) === String(value))));
}

function chooser(pane, key, options) {
  const label = document.createElement("label"), select = document.createElement("select");
  select.className = key;
  fill(select, options, pane[key]);
  select.addEventListener("change", () => {
    pane[key] = key === "stage" ? select.value : Number(select.value);
    draw();
  });
  label.append(key + " ", select);
  return label;
}

function setUp() {
  const stages = runs[0].stages;
  state.panes = runs.length > 1 ? [newPane(0), newPane(1)] : [{...newPane(0), stage: stages[0]}, newPane(0)];
  byId("about").textContent = runs.map((run) =>
      `${run.name}, step ${run.step} (${run.run})`).join("   |   ") + ". Maps come from the composed path.";
  fill(byId("sample"), runs[0].samples.map((s, i) => [i, s.index]), 0);
  byId("two").checked = runs.length > 1 || stages.length > 1;
  byId("sample").addEventListener("change", () => { state.sample = Number(byId("sample").value); fillRows(); draw(); });
  byId("row").addEventListener("change", () => { state.row = Number(byId("row").value); draw(); });
  byId("scale").addEventListener("change", () => { state.scale = byId("scale").value; draw(); });
  byId("two").addEventListener("change", draw);
  byId("legend").innerHTML = Object.keys(roleWords).map((role) =>
      `<span class="swatch role-${role}"></span>${roleWords[role]}`).join("") +
      "<span class=\"swatch\" style=\"background:#d9d9d9\"></span>not visible (future)";
  fillRows();
  drawShares();
}

function fillRows() {
  const sample = runs[0].samples[state.sample], [begin, end] = sample.rows;
  const rows = Array.from({length: end - begin}, (_, i) => begin + i);
  const answer = sample.answer_rows.find((row) => row >= begin && row < end);
  state.row = answer ?? end - 1;
  fill(byId("row"), rows.map((r) => [r, `${r} ${sample.tokens[r].text}${
      sample.answer_rows.includes(r) ? " (predicts the answer)" : ""}`]), state.row);
  byId("text").replaceChildren(...sample.tokens.map((token) => {
    const span = document.createElement("span");
    span.className = "role-" + token.role;
    span.textContent = token.text;
    return span;
  }));
}

// --- drawing --------------------------------------------------------------------------------------

function draw() {
  const panes = byId("two").checked ? state.panes : state.panes.slice(0, 1);
  byId("panes").replaceChildren(...panes.map(drawPane));
  byId("hover").hidden = true;
}

function drawPane(pane) {
  const run = runs[pane.run], element = document.createElement("div");
  element.className = "pane";
  if (runs.length > 1) element.append(chooser(pane, "run", runs.map((r, i) => [i, runName(r)])));
  element.append(chooser(pane, "layer", run.layers.map((l) => [l, l])),
                 chooser(pane, "head", run.heads.map((h) => [h, h])),
                 chooser(pane, "stage", run.stages.map((s) => [s, s])));
  const head = headOf(pane);
  if (!head) {
    const note = document.createElement("p");
    note.textContent = "this layer and head have no such stage";
    element.append(note);
    return element;
  }
  const reach = reachOf(state.scale === "head" ? head.values : head.all);
  element.append(drawMap(head, reach), drawScale(head, reach));
  element.append(drawBars(head));
  const learned = run.learned.find((l) => l.layer === pane.layer && l.stage === pane.stage);
  if (learned) element.append(drawLearned(learned, pane.head));
  return element;
}

// Where things stand on the canvas. Cells are square in a whole map; a window uses the room it has.
const strip = 7, labelRoom = 48;
function geometryOf(head) {
  const fit = (count, room) => Math.max(1, Math.min(20, Math.floor(room / count)));
  const square = head.rows === head.columns;
  const width = fit(head.columns, square ? 640 : 1300), height = square ? width : fit(head.rows, 640);
  const tokens = width >= 10, queries = height >= 10;  // room for their text
  return {width, height, tokens, queries, left: strip + (queries ? labelRoom : 0),
          top: strip + (tokens ? labelRoom : 0)};
}

// The map, with the tokens' roles as strips and, where there is room, the tokens themselves.
function drawMap(head, reach) {
  const g = geometryOf(head), canvas = document.createElement("canvas");
  canvas.className = "map";
  canvas.width = g.left + head.columns * g.width + 1;
  canvas.height = g.top + head.rows * g.height + 1;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(pixelsOf(head, reach), g.left, g.top, head.columns * g.width, head.rows * g.height);
  drawTokens(context, head, g);
  markRow(context, head, g);
  markTargets(context, head, g);
  canvas.addEventListener("mousemove", (event) => hover(event, head, g));
  canvas.addEventListener("mouseleave", () => { byId("hover").hidden = true; });
  canvas.addEventListener("click", (event) => {
    const place = placeOf(event, head, g);
    if (!place) return;
    state.row = place.row;
    byId("row").value = place.row;
    draw();
  });
  return canvas;
}

// One pixel a cell.
function pixelsOf(head, reach) {
  const image = new ImageData(head.columns, head.rows), canvas = document.createElement("canvas");
  for (let r = 0; r < head.rows; ++r) {
    for (let c = 0; c < head.columns; ++c) {
      const future = head.firstColumn + c > head.firstRow + r, at = r * head.columns + c;
      const colour = future ? [217, 217, 217] : colourOf(head.values[at], reach);
      image.data.set([...colour, 255], 4 * at);
    }
  }
  canvas.width = head.columns;
  canvas.height = head.rows;
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function drawTokens(context, head, g) {
  context.font = "12px monospace";
  context.textBaseline = "middle";
  for (let c = 0; c < head.columns; ++c) {
    const token = head.sample.tokens[head.firstColumn + c], x = g.left + c * g.width;
    context.fillStyle = roleColours[token.role];
    context.fillRect(x, g.top - strip, g.width, strip);
    if (g.tokens) sideways(context, token.text, x + g.width / 2, g.top - strip - 3);
  }
  for (let r = 0; r < head.rows; ++r) {
    const token = head.sample.tokens[head.firstRow + r], y = g.top + r * g.height;
    context.fillStyle = roleColours[token.role];
    context.fillRect(g.left - strip, y, strip, g.height);
    if (g.queries) upright(context, token.text, g.left - strip - 3, y + g.height / 2);
  }
}

const short = (text) => text.length > 6 ? text.slice(0, 5) + "\u2026" : text;
function upright(context, text, x, y) {
  context.fillStyle = "#222";
  context.textAlign = "right";
  context.fillText(short(text), x, y);
}
function sideways(context, text, x, y) {
  context.save();
  context.translate(x, y);
  context.rotate(-Math.PI / 2);
  context.fillStyle = "#222";
  context.textAlign = "left";
  context.fillText(short(text), 0, 0);
  context.restore();
}

function markRow(context, head, g) {
  const r = state.row - head.firstRow;
  if (r < 0 || r >= head.rows) return;
  context.strokeStyle = "#000";
  context.strokeRect(g.left + 0.5, g.top + r * g.height + 0.5, head.columns * g.width, Math.max(g.height, 2));
}

function markTargets(context, head, g) {
  context.strokeStyle = roleColours.target;
  context.lineWidth = 1.5;
  for (const span of head.sample.spans) {
    if (span.role !== "target") continue;
    const begin = Math.max(span.begin - head.firstColumn, 0);
    const end = Math.min(span.end - head.firstColumn, head.columns);
    if (begin < end) context.strokeRect(g.left + begin * g.width, g.top, (end - begin) * g.width, head.rows * g.height);
  }
}

function placeOf(event, head, g) {
  const box = event.target.getBoundingClientRect();
  const c = Math.floor((event.clientX - box.left - g.left) / g.width);
  const r = Math.floor((event.clientY - box.top - g.top) / g.height);
  if (c < 0 || r < 0 || c >= head.columns || r >= head.rows) return null;
  return {row: head.firstRow + r, column: head.firstColumn + c, value: head.values[r * head.columns + c]};
}

function hover(event, head, g) {
  const box = byId("hover"), place = placeOf(event, head, g);
  box.hidden = !place;
  if (!place) return;
  const name = (t) => `${t} "${head.sample.tokens[t].text}" (${roleWords[head.sample.tokens[t].role]})`;
  box.textContent = place.column > place.row
      ? `query ${name(place.row)}\nkey   ${name(place.column)}\nnot visible`
      : `query ${name(place.row)}\nkey   ${name(place.column)}\nvalue ${shown(place.value)}`;
  box.style.left = event.clientX + 14 + "px";
  box.style.top = event.clientY + 14 + "px";
}

function drawScale(head, reach) {
  const element = document.createElement("div"), canvas = document.createElement("canvas");
  const negative = head.values.some((value) => value < 0), low = negative ? -reach : 0;
  element.className = "scale";
  canvas.width = 160;
  canvas.height = 10;
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; ++x) {
    context.fillStyle = css(colourOf(low + (reach - low) * x / (canvas.width - 1), reach));
    context.fillRect(x, 0, 1, canvas.height);
  }
  element.append(shown(low), canvas, shown(reach));
  return element;
}

// The kernel of this head, or the mixing matrix, that this stage applied.
function drawLearned(learned, head) {
  const kernel = learned.shape.length === 3, [rows, columns] = learned.shape.slice(-2);
  const begin = kernel ? head * rows * columns : 0;
  const values = learned.values.slice(begin, begin + rows * columns), reach = reachOf(values);
  const element = document.createElement("details"), table = document.createElement("table");
  element.className = "learned";
  element.open = rows * columns <= 80;
  element.innerHTML = `<summary>${kernel ? "learned kernel: rows are queries up to this one, columns keys"
                                         : "learned mixing: a row for each output head"}</summary>`;
  for (let r = 0; r < rows; ++r) {
    const row = table.insertRow();
    for (let c = 0; c < columns; ++c) {
      const value = values[r * columns + c], cell = row.insertCell(), colour = colourOf(value, reach);
      cell.textContent = value.toFixed(2);
      cell.style.background = css(colour);
      if (colour[0] + colour[1] + colour[2] < 330) cell.style.color = "#fff";
    }
  }
  element.append(table);
  return element;
}

// What each block or needle gets from the chosen row.
function drawBars(head) {
  const r = state.row - head.firstRow, element = document.createElement("div"), table = document.createElement("table");
  element.className = "bars";
  if (r < 0 || r >= head.rows || !head.sample.spans.length) return element;
  const bars = head.sample.spans.map((span) => {
    let sum = 0;
    const end = Math.min(span.end, head.firstColumn + head.columns, state.row + 1);
    for (let t = Math.max(span.begin, head.firstColumn); t < end; ++t) sum += head.values[r * head.columns + t - head.firstColumn];
    return {span, sum};
  });
  const many = bars.length > 24;
  if (many) bars.sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
  const largest = Math.max(...bars.map((bar) => Math.abs(bar.sum)), 1e-30), negative = bars.some((bar) => bar.sum < 0);
  table.createCaption().textContent = `sum over each block or needle in row ${state.row}${many ? ", largest first" : ""}`;
  for (const {span, sum} of bars) {
    const row = table.insertRow(), width = Math.abs(sum) / largest * (negative ? 50 : 100);
    const begin = negative ? (sum < 0 ? 50 - width : 50) : 0;
    row.insertCell().textContent = span.name;
    row.insertCell().textContent = shown(sum);
    const room = row.insertCell();
    room.className = "room";
    room.innerHTML = `<div class="bar role-${span.role === "context" ? "special" : span.role}" style="left:${begin}%;width:${width}%"></div>` +
        `<div class="zero" style="left:${negative ? 50 : 0}%"></div>`;
  }
  element.append(table);
  return element;
}

function drawShares() {
  for (const run of runs) {
    const title = document.createElement("p"), table = document.createElement("table");
    if (!run.shares.length) {
      title.textContent = `${runName(run)}: this task marks no target`;
      byId("shares").append(title);
      continue;
    }
    title.textContent = `${runName(run)}: equal weights would give ${(100 * run.shares[0].uniform).toFixed(1)} %`;
    table.className = "shares";
    const stages = [...new Set(run.shares.map((entry) => entry.stage))];
    table.innerHTML = `<tr><th>layer</th><th>head</th>${stages.map((s) => `<th>${s}</th>`).join("")}</tr>`;
    for (const layer of run.layers) {
      for (const head of run.heads) {
        const row = table.insertRow();
        row.insertCell().textContent = layer;
        row.insertCell().textContent = head;
        for (const stage of stages) {
          const share = run.shares.find((entry) => entry.layer === layer && entry.stage === stage)?.heads[head];
          const cell = row.insertCell();
          cell.textContent = share === undefined ? "\u2013" : (100 * share).toFixed(1);
          if (share !== undefined) cell.style.background = `rgba(230,159,0,${share})`;
        }
      }
    }
    byId("shares").append(title, table);
  }
}

setUp();
draw();
