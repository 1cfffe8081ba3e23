// Drives a world: axes from keys, sticks, gamepad and sliders go out, frames come in. No build step, no libraries.
"use strict";

const $ = (id) => document.getElementById(id);
const TAKEN_OVER = 4001;
const DEAD = 0.12; // Share of a gamepad's stick that counts as its middle.
const STEPS = 50; // Places of a stick from its middle to its end that are told apart: it trembles in the hand.
// Pairs of gamepad buttons (low, high) for axes without a stick, in the places of the standard layout.
const PAIRS = [
  { buttons: [6, 7], names: ["LT", "RT"] }, { buttons: [4, 5], names: ["LB", "RB"] },
  { buttons: [13, 12], names: ["pad ↓", "pad ↑"] }, { buttons: [14, 15], names: ["pad ←", "pad →"] },
];
const BUTTON_ACTIONS = { 9: () => playOrPause(), 1: () => undo(), 8: () => reset(), 3: () => record() };

const world = { hello: null, state: {}, socket: null, wait: 500, recorded: false };
const input = { keys: new Set(), sticks: {}, sliders: {}, levels: {}, sent: "", sequence: 0, pressed: new Map(), pairs: {}, pad: "", down: new Set() };
const film = { queue: [], next: 0, interval: 100 };

// --- the connection

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/session`);
  socket.binaryType = "arraybuffer";
  world.socket = socket;
  socket.onmessage = (event) => (typeof event.data === "string" ? hear(JSON.parse(event.data)) : receive(event.data));
  socket.onopen = () => { world.wait = 500; };
  socket.onclose = (event) => lost(event.code);
}

function lost(code) {
  film.queue.length = 0;
  input.sent = "";
  setPlaying(false);
  $("views").classList.add("bad");
  const gone = $("gone");
  gone.hidden = false;
  if (code === TAKEN_OVER) {
    status("driven from another window", true);
    gone.textContent = "Another window drives this world now. ";
    const back = document.createElement("button");
    back.textContent = "Drive here";
    back.onclick = () => { gone.textContent = "Connecting."; connect(); };
    gone.append(back);
    return;
  }
  status("no server", true);
  gone.textContent = "The server is gone or does not answer. What was driven is kept while it runs; trying again.";
  setTimeout(connect, world.wait);
  world.wait = Math.min(world.wait * 1.6, 5000);
}

function send(message) {
  if (world.socket && world.socket.readyState === WebSocket.OPEN) world.socket.send(JSON.stringify(message));
}

function status(words, bad) {
  $("status").textContent = words;
  $("status").classList.toggle("bad", Boolean(bad));
}

function hear(message) {
  if (message.type === "hello") greet(message);
  else if (message.type === "state") show(message);
  else if (message.type === "error") problem(message.message);
}

function problem(words) { $("problem").textContent = words; }

function greet(hello) {
  const isNew = JSON.stringify(hello) !== JSON.stringify(world.hello);
  world.hello = hello;
  status("connected");
  $("gone").hidden = true;
  $("views").classList.remove("bad");
  problem("");
  input.sent = "";
  if (!isNew) return;
  $("name").textContent = hello.name;
  film.interval = 1000 / hello.fps_hz;
  $("views").replaceChildren(...hello.views.map(figure));
  pairButtons(hello.axes);
  $("axes").replaceChildren(...hello.axes.map(axisRow));
  buildSticks(hello.axes);
  $("say").hidden = !hello.has_text;
  $("dropping").hidden = !hello.takes_images;
  $("starts").replaceChildren(...hello.starts.map(startItem));
  for (const axis of hello.axes) if (axis.holds) input.levels[axis.name] = axis.rest;
}

function show(state) {
  world.state = state;
  if (state.held) Object.assign(input.levels, state.held); // After a start, reset or undo.
  setPlaying(state.playing);
  $("record").setAttribute("aria-pressed", String(state.recording));
  $("download").hidden = !state.recording;
  if (document.activeElement !== $("text")) $("text").value = state.text;
  if (document.activeElement !== $("seed")) $("seed").value = state.seed;
  $("chunk").textContent = state.number;
  if (state.recording_full) problem("The recording is full: download it. What is driven now is not kept.");
  for (const button of $("starts").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.clip === state.clip));
  }
}

function setPlaying(on) {
  world.state.playing = on;
  $("play").setAttribute("aria-pressed", String(on));
  $("play").firstChild.textContent = on ? "Pause " : "Play ";
}

// --- pictures

function figure(view) {
  const element = document.createElement("figure");
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `camera ${view}`);
  const caption = document.createElement("figcaption");
  caption.textContent = view;
  element.append(canvas, caption);
  return element;
}

async function receive(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const entry = { header, images: null };
  film.queue.push(entry);
  let place = 4 + length;
  const parts = header.sizes.map((size) => new Uint8Array(buffer, (place += size) - size, size));
  entry.images = await Promise.all(parts.map((part) => createImageBitmap(new Blob([part], { type: "image/webp" }))));
}

function play(now) {
  requestAnimationFrame(play);
  const first = film.queue[0];
  if (!first || !first.images) return;
  if (first.header.seconds && now < film.next) return;
  film.queue.shift();
  draw(first);
  const { seconds, of } = first.header;
  const made = seconds ? (1000 * seconds) / of : 0;
  let interval = Math.max(1000 / world.hello.fps_hz, made);
  if (film.queue.length > 2 * of) interval *= 0.5; // Too far behind what is driven.
  film.next = Math.max(now, film.next + interval);
  if (now - film.next > 1000) film.next = now;
}

function draw({ header, images }) {
  const canvases = $("views").querySelectorAll("canvas");
  images.forEach((image, view) => {
    const canvas = canvases[view];
    if (canvas.width !== image.width || canvas.height !== image.height) {
      canvas.width = image.width;
      canvas.height = image.height;
    }
    canvas.getContext("2d").drawImage(image, 0, 0);
    image.close();
  });
  $("chunk").textContent = header.number;
  $("views").dataset.frames = Number($("views").dataset.frames || 0) + 1;
  if (header.seconds) $("rate").textContent = `${(header.of / header.seconds).toFixed(1)} frames/s`;
  for (const [sequence, time] of input.pressed) {
    if (header.sequence < sequence) continue;
    $("latency").textContent = `${Math.round(performance.now() - time)} ms`;
    input.pressed.delete(sequence);
  }
}

// --- axes

function axisRow(axis) {
  const row = document.createElement("div");
  row.className = "axis";
  const label = document.createElement("label");
  label.htmlFor = `axis-${axis.name}`;
  label.textContent = axis.name.replaceAll("_", " ");
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", id: `axis-${axis.name}`, min: axis.low, max: axis.high, step: "any" });
  slider.value = axis.rest;
  const release = () => { if (!axis.holds) { delete input.sliders[axis.name]; refresh(); } };
  slider.oninput = () => {
    if (axis.holds) input.levels[axis.name] = Number(slider.value);
    else input.sliders[axis.name] = Number(slider.value);
    refresh();
  };
  slider.onchange = release;
  slider.onblur = release;
  const value = document.createElement("output");
  const keys = document.createElement("span");
  keys.className = "keys";
  keys.append(...[0, 1].map((side) => {
    const part = document.createElement("span");
    for (const code of axis.keys[side]) part.append(keyCap(keyName(code)), " ");
    const pair = input.pairs[axis.name];
    if (pair) part.append(keyCap(pair.names[side], "pad"));
    return part;
  }));
  row.append(label, slider, value, keys);
  return row;
}

function keyCap(words, kind) {
  const key = document.createElement("kbd");
  key.textContent = words;
  if (kind) key.className = kind;
  return key;
}

// Axes that stay where they are put, such as a gripper's opening, get the triggers.
function pairButtons(axes) {
  const free = axes.filter((axis) => !axis.stick).sort((a, b) => b.holds - a.holds);
  input.pairs = Object.fromEntries(free.slice(0, PAIRS.length).map((axis, place) => [axis.name, PAIRS[place]]));
}

function keyName(code) {
  return { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" }[code] || code.replace("Key", "");
}

function buildSticks(axes) {
  const sides = ["left", "right"].filter((side) => axes.some((axis) => axis.stick.startsWith(side)));
  $("sticks").replaceChildren(...sides.map((side) => {
    const pad = document.createElement("div");
    pad.className = "stick";
    pad.id = `stick-${side}`;
    pad.setAttribute("aria-hidden", "true"); // Sliders and keys do the same and can be reached.
    const knob = document.createElement("i");
    pad.append(knob);
    const move = (event) => {
      const box = pad.getBoundingClientRect();
      const x = clamp((2 * (event.clientX - box.left)) / box.width - 1, -1, 1);
      const y = clamp(1 - (2 * (event.clientY - box.top)) / box.height, -1, 1);
      knob.style.transform = `translate(${x * box.width * 0.33}px, ${-y * box.height * 0.33}px)`;
      input.sticks[`${side}-x`] = x;
      input.sticks[`${side}-y`] = y;
      refresh();
    };
    const release = () => {
      knob.style.transform = "";
      delete input.sticks[`${side}-x`];
      delete input.sticks[`${side}-y`];
      refresh();
    };
    pad.onpointerdown = (event) => { pad.setPointerCapture(event.pointerId); move(event); };
    pad.onpointermove = (event) => { if (pad.hasPointerCapture(event.pointerId)) move(event); };
    pad.onpointerup = pad.onpointercancel = release;
    return pad;
  }));
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// One whose buttons and sticks have known places goes before the others.
function gamepad() {
  const pads = [...(navigator.getGamepads ? navigator.getGamepads() : [])].filter((pad) => pad && pad.connected);
  return pads.find((pad) => pad.mapping === "standard") || pads[0];
}

function beyondDead(value) {
  const push = Math.max(0, Math.abs(value || 0) - DEAD) / (1 - DEAD);
  return (Math.sign(value) * Math.round(STEPS * Math.min(push, 1))) / STEPS || 0;
}

// What a gamepad pushes: sticks by their name, and axes without a stick by theirs.
function readPad() {
  const pad = gamepad();
  showPad(pad);
  if (!pad) return {};
  const [leftX, leftY, rightX, rightY] = pad.axes.map(beyondDead);
  const all = { "left-x": leftX, "left-y": -leftY, "right-x": rightX, "right-y": -rightY };
  if (pad.mapping === "standard") {
    const held = (place) => (pad.buttons[place] ? pad.buttons[place].value : 0);
    for (const [axis, { buttons: [low, high] }] of Object.entries(input.pairs)) all[axis] = beyondDead(held(high) - held(low));
    pressButtons(pad);
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value));
}

function pressButtons(pad) {
  for (const [place, action] of Object.entries(BUTTON_ACTIONS)) {
    const isDown = Boolean(pad.buttons[place] && pad.buttons[place].pressed);
    if (isDown && !input.down.has(place)) action();
    if (isDown) input.down.add(place); else input.down.delete(place);
  }
}

function showPad(pad) {
  const name = pad ? pad.id : "";
  if (name === input.pad) return;
  input.pad = name;
  input.down.clear();
  $("pad").textContent = name && `Gamepad: ${name.slice(0, 60)}`;
  document.body.classList.toggle("padded", Boolean(pad && pad.mapping === "standard"));
}

// From -1..1 to low..high, with the middle at rest.
function scaled(axis, push) {
  return axis.rest + push * (push > 0 ? axis.high - axis.rest : axis.rest - axis.low);
}

function pushOf(axis, sticks) {
  const down = axis.keys[0].some((code) => input.keys.has(code));
  const up = axis.keys[1].some((code) => input.keys.has(code));
  if (down !== up) return up ? 1 : -1;
  const stick = sticks[axis.stick || axis.name];
  return stick === undefined ? 0 : stick * (axis.stick ? axis.stick_sign : 1);
}

let lastRefresh = 0;

function refresh() {
  if (!world.hello) return;
  const now = performance.now();
  const passed = Math.min((now - lastRefresh) / 1000, 0.1);
  lastRefresh = now;
  const sticks = { ...readPad(), ...input.sticks };
  const values = {};
  let active = false;
  let pushed = false; // A slider may stand off its middle since before; a stick or key is held now.
  for (const axis of world.hello.axes) {
    const push = pushOf(axis, sticks);
    pushed = pushed || push !== 0;
    active = active || pushed || axis.name in input.sliders;
    if (axis.holds) {
      const step = (push * passed * (axis.high - axis.low)) / axis.sweep_s;
      input.levels[axis.name] = clamp(input.levels[axis.name] + step, axis.low, axis.high);
      values[axis.name] = input.levels[axis.name];
    } else {
      values[axis.name] = push !== 0 ? scaled(axis, push) : input.sliders[axis.name] ?? axis.rest;
    }
  }
  const text = JSON.stringify(values);
  if (text === input.sent || world.socket.readyState !== WebSocket.OPEN) return;
  const isFirst = input.sent === "";
  input.sent = text;
  input.sequence += 1;
  if (active) input.pressed.set(input.sequence, now);
  send({ type: "commands", axes: values, sequence: input.sequence });
  if (active && !world.state.playing && (pushed || !isFirst)) { send({ type: "play" }); setPlaying(true); }
  for (const axis of world.hello.axes) {
    const slider = $(`axis-${axis.name}`);
    if (!(axis.name in input.sliders)) slider.value = values[axis.name];
    slider.nextElementSibling.textContent = `${values[axis.name].toFixed(2)} ${axis.unit}`;
  }
}

// --- keys and buttons

const isTyping = (target) => target.matches("input, textarea") && target.type !== "range";
const takesArrows = (target, code) => target.type === "range" && (code.startsWith("Arrow") || code === "Home");
const steers = (code) => world.hello && world.hello.axes.some((axis) => axis.keys.flat().includes(code));

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || takesArrows(event.target, event.code)) return;
  if (steers(event.code)) {
    event.preventDefault();
    input.keys.add(event.code);
    refresh();
    return;
  }
  if (event.repeat) return;
  const action = { Space: playOrPause, Backspace: undo, Home: reset, KeyM: record }[event.code];
  if (!action || (event.code === "Space" && event.target.matches("button, a"))) return;
  event.preventDefault();
  action();
});
addEventListener("keyup", (event) => { if (input.keys.delete(event.code)) refresh(); });
addEventListener("blur", () => { input.keys.clear(); refresh(); });
// A hidden page draws nothing, so frames would pile up.
document.addEventListener("visibilitychange", () => { if (document.hidden && world.state.playing) playOrPause(); });

function playOrPause() {
  const on = !world.state.playing;
  send({ type: on ? "play" : "pause" });
  setPlaying(on);
}
function undo() { film.queue.length = 0; send({ type: "undo" }); }
function reset() { film.queue.length = 0; send({ type: "reset" }); }
function record() { problem(""); send({ type: "record" }); }

function startItem(start) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.dataset.clip = start.id;
  button.title = start.text;
  const image = document.createElement("img");
  image.loading = "lazy";
  image.alt = "";
  image.src = `/starts/${encodeURIComponent(start.id)}.webp`;
  const words = document.createElement("span");
  words.textContent = `${start.split}: ${start.text || start.id}`;
  button.append(image, words);
  button.onclick = () => { film.queue.length = 0; send({ type: "start", clip: start.id }); };
  item.append(button);
  return item;
}

async function upload(file) {
  if (!file) return;
  problem("");
  film.queue.length = 0;
  try {
    const answer = await fetch("/start", { method: "POST", body: file });
    const said = await answer.json();
    if (!answer.ok) problem(said.error);
  } catch { problem("The picture could not be sent: the server is gone."); }
}

async function download(event) {
  event.preventDefault();
  problem("");
  try {
    const answer = await fetch("/recording.zip");
    if (!answer.ok) { problem((await answer.json()).error); return; }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = "steered.zip";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } catch { problem("The recording could not be fetched: the server is gone."); }
}

$("play").onclick = playOrPause;
$("undo").onclick = undo;
$("reset").onclick = reset;
$("record").onclick = record;
$("download").onclick = download;
$("say").onsubmit = (event) => { event.preventDefault(); send({ type: "say", text: $("text").value }); };
$("seeding").onsubmit = (event) => { event.preventDefault(); send({ type: "seed", seed: Number($("seed").value) }); };
$("file").onchange = () => upload($("file").files[0]);
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (world.hello && world.hello.takes_images) upload(event.dataTransfer.files[0]);
});

setInterval(refresh, 50); // Gamepads have no events, and levels move while a key is down.
requestAnimationFrame(play);
connect();
