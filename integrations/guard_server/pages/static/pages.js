// Keys, the blend of two pictures, a page that keeps itself fresh. Every page works without this file.
"use strict";

const typing = (element) => element.matches("input:not([type=checkbox]):not([type=radio]):not([type=range]):not([type=file]), textarea, select");

// An element says its key: <button data-key="c">. Fields are entered, everything else is pressed.
function press(key) {
  const target = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (!target || target.disabled || target.hidden) return false;
  if (typing(target)) target.focus();
  else target.click();
  return true;
}

const PLACES = { s: "/status", r: "/review", f: "/search" };
let going = false;

function move(step) {
  const rows = [...document.querySelectorAll("[data-rows] [data-row]")];
  if (!rows.length) return false;
  const row = rows[Math.min(Math.max(rows.indexOf(document.activeElement) + step, 0), rows.length - 1)];
  row.focus();
  row.closest("li").scrollIntoView({ block: "nearest" });
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (typing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  let done = false;
  if (going) {
    going = false;
    const link = document.querySelector(`header nav a[href="${PLACES[event.key]}"]`);
    if (link) { link.click(); done = true; }
  } else if (event.key === "g") {
    going = done = true;
    setTimeout(() => { going = false; }, 1500);
  } else if (event.key === "j" || event.key === "k") {
    done = move(event.key === "j" ? 1 : -1) || press(event.key);
  } else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && !event.target.matches("input")) {
    done = slide(event.key === "ArrowLeft" ? -10 : 10);
  } else if (event.key === "x" && event.target.matches("[data-row][type=checkbox]")) {
    event.target.click();
    done = true;
  } else {
    done = press(event.key);
  }
  if (done) event.preventDefault();
});

for (const opener of document.querySelectorAll("[data-opens]")) {
  opener.hidden = false;
  opener.addEventListener("click", () => document.getElementById(opener.dataset.opens).showModal());
}
for (const part of document.querySelectorAll("[data-needs-script]")) part.hidden = false;

// How much of the training picture is seen over the generated one.
const blend = document.querySelector("[data-blend]");
const laid = document.querySelector(".laid");

function show() { laid.style.opacity = blend.value / 100; }

function slide(by) {
  if (!blend) return false;
  blend.value = Number(blend.value) + by;
  show();
  return true;
}

if (blend) {
  blend.addEventListener("input", show);
  document.querySelector("[data-blinks]").addEventListener("click", () => {
    blend.value = Number(blend.value) >= 50 ? 0 : 100;
    show();
  });
}

// How many pictures are marked, and nothing to press while it is none.
const counted = document.querySelector("[data-counted]");
if (counted) {
  const boxes = [...document.querySelectorAll("[data-counts]")];
  const count = () => {
    const marked = boxes.filter((box) => box.checked).length;
    counted.disabled = !marked;
    counted.firstChild.data = `${counted.dataset.counted} ${marked || "these"} `;
  };
  for (const box of boxes) box.addEventListener("change", count);
  count();
}

// A picture that is dropped on the page, pasted or chosen is looked for at once.
const drop = document.querySelector("[data-drop]");
if (drop) {
  const input = drop.querySelector("input[type=file]");
  const take = (event, files) => {
    const pictures = [...(files || [])].filter((file) => file.type.startsWith("image/"));
    if (!pictures.length) return;
    event.preventDefault();
    const one = new DataTransfer();
    one.items.add(pictures[0]);
    input.files = one.files;
    drop.requestSubmit();
  };
  const over = (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    drop.classList.add("over");
  };
  document.addEventListener("dragover", over);
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => { drop.classList.remove("over"); take(event, event.dataTransfer.files); });
  document.addEventListener("paste", (event) => take(event, event.clipboardData.files));
  input.addEventListener("change", () => { if (input.files.length) drop.requestSubmit(); });
}

// <div data-live="10"> is fetched again every ten seconds, as long as somebody looks, and nobody stands in it with keys:
// what has the focus would lose it.
const live = document.querySelector("[data-live]");
if (live) {
  const used = () => document.hidden || live.contains(document.activeElement);
  setInterval(async () => {
    if (used()) return;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) { location.reload(); return; }
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!used()) live.replaceChildren(...page.querySelector("[data-live]").childNodes);
    } catch { /* the server is away; the next time may be better */ }
  }, 1000 * live.dataset.live);
}
