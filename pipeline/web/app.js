// What the page does: shows frames, tells how it goes, teaches.

import { OwnCamera } from "./camera.js";
import { Library } from "./library.js";
import { showCheck } from "./liveness.js";
import { Connection } from "./connection.js";
import { ask } from "./dialog.js";
import { People } from "./people.js";
import { PersonPage } from "./person.js";
import { Photos } from "./photos.js";
import { Picture } from "./picture.js";
import { Tiles } from "./tiles.js";
import { Review } from "./review.js";

const $ = (id) => document.getElementById(id);
const LINGER = 6000; // milliseconds for which the end of a teaching is told

if (location.search) history.replaceState(null, "", location.pathname); // the token is a cookie now

let state = null;
let own = null; // milliseconds from grabbing a frame of this device's camera to its faces
let taught = false; // whether a teaching was seen that has not been told to the end
let lingering;

const connection = new Connection({
  text(message) {
    if (message.type === "state") showState(message);
    else if (message.type === "people") showPeople(message);
    else if (message.type === "faces") camera.answer(message);
  },
  frame: showFrame,
  state(kind, text) {
    $("connection").dataset.state = kind;
    $("connection").textContent = text;
    if (kind === "good" && camera.on) {
      connection.tell({ type: "camera", on: true }); // the server was started again
      camera.next();
    }
    if (kind !== "good") {
      $("figures").textContent = "";
      showStatus(picture.last ? "No connection: this is the last picture." : "No connection.");
      state = null;
    }
  },
});
const picture = new Picture($("stage"), $("picture"), $("faces"), name);
const tiles = new Tiles($("tiles"), $("stage"), name, (what) => connection.ask(what));
const command = (what) => connection.ask(what);
const people = new People($("people"), $("nobody"), $("names"), command);
const person = new PersonPage(command, people);
const review = new Review($("groups"), $("no-groups"), $("groups-note"), command, () => people.everyone.map((one) => one.name));
const library = new Library();
const photos = new Photos(command, (files) => library.take(files));
const camera = new OwnCamera(
  (bytes) => connection.send(bytes),
  (image, header, milliseconds) => {
    own = own === null ? milliseconds : 0.9 * own + 0.1 * milliseconds;
    picture.show(image, header);
  },
);

// -- frames of the server

const next = new Map(); // camera (undefined where there is one) -> what is to be painted

async function showFrame(header, jpeg) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
  } catch {
    connection.tell({ type: "shown", frame: header.frame, camera: header.camera });
    return;
  }
  next.get(header.camera)?.bitmap.close();
  if (!next.size) requestAnimationFrame(paint); // not called while the page is hidden, so frames stop
  next.set(header.camera, { bitmap, header });
}

function paint() {
  for (const { bitmap, header } of next.values()) {
    connection.tell({ type: "shown", frame: header.frame, camera: header.camera });
    if (camera.on) bitmap.close();
    else (tiles.picture(header.camera) ?? picture).show(bitmap, header);
  }
  next.clear();
}

// -- how it goes

function showState(message) {
  state = message;
  const late = camera.on && message.mine ? own : message.shown_ms;
  $("figures").textContent = [
    `${message.fps.toFixed(1)} frames/s`,
    late === null ? "" : `${Math.round(late)} ms from camera to screen`,
    `${message.looks.toFixed(1)} detections/s`,
  ].filter(Boolean).join(" · ");
  tiles.update(message.cameras);
  showStatus(message.status);
  if (camera.on && !message.mine && message.camera === "browser") stopCamera();
  if (message.camera === "none") picture.clear();
  $("camera").hidden = Boolean(message.cameras);
  $("camera").textContent = camera.on ? "Stop this device’s camera" : "Use this device’s camera";
  $("camera").setAttribute("aria-pressed", String(camera.on));
  $("camera").className = message.machine || camera.on ? "" : "main";
  showTeaching(message.teaching);
  showCheck(message.check);
  showHead(message.head);
}

function showStatus(text) {
  $("status").hidden = !text;
  $("status").textContent = text ?? "";
}

const LEARNING = ["gathering", "training"]; // phases in which a teaching can be cancelled

function showTeaching(teaching) {
  const active = LEARNING.includes(teaching?.phase);
  tiles.taught = picture.taught = active ? teaching.track : null;
  if (active) {
    clearTimeout(lingering);
    taught = true;
  } else if (taught) {
    taught = false;
    lingering = setTimeout(() => ($("teaching").hidden = true), LINGER);
  } else return;
  const { name, gathered, wanted, message } = teaching ?? {};
  const pictures = gathered === 1 ? "1 picture" : `${gathered} pictures`;
  const texts = {
    gathering: `Learning ${name}: ${gathered} of ${wanted} pictures${message ? ` – ${message}` : ""}`,
    training: `Learning ${name}: training with ${pictures}`,
    swapped: `${name} is learned from ${pictures}.`,
    failed: `${name} is known, but the training failed: ${message}`,
    cancelled: "Cancelled: nothing of this teaching was kept.",
    idle: `${name} is known.`,
  };
  $("teaching").hidden = !teaching;
  const text = texts[teaching?.phase] ?? "";
  if ($("teaching-text").textContent !== text) $("teaching-text").textContent = text;
  $("teaching-cancel").hidden = !active;
  $("teaching-bar").hidden = !active;
  if (teaching?.phase === "training") $("teaching-bar").removeAttribute("value");
  else Object.assign($("teaching-bar"), { max: wanted ?? 1, value: gathered ?? 0 });
}

function showHead(head) {
  const { phase, message } = head;
  const seconds = head.seconds === null ? "" : ` (${head.seconds.toFixed(1)} s)`;
  const texts = {
    none: `Names come from comparing faces; there is no classifier yet${message ? `: ${message}` : ""}.`,
    training: `The classifier is being trained${seconds} …`,
    swapped: `The classifier is trained${message ? ` for ${message}` : ""} and in use${seconds}.`,
    failed: `The new classifier is not used, the old one stays: ${message}.`,
  };
  const text = texts[phase];
  if ($("head").textContent !== text) $("head").textContent = text;
}

// -- people, review, undo

let act = null; // what can be undone

function showPeople(message) {
  people.show(message.people);
  act = message.undo ?? null;
  $("undo").hidden = !act;
  $("undo").textContent = act ? `Undo: ${act.what}` : "";
  const { unknown = 0, remember = null } = message;
  $("to-review").hidden = remember === null && !unknown;
  $("unknown").textContent = unknown;
  $("unknown").hidden = !unknown;
  const days = remember === null ? "" : ` Each is deleted after ${duration(remember)}.`;
  $("kept").textContent = `${unknown} ${unknown === 1 ? "picture" : "pictures"} of unknown faces ${unknown === 1 ? "is" : "are"} kept.${days}`;
  $("clear").hidden = !unknown;
  $("to-library").hidden = !message.library;
  library.update(message.library);
  refresh();
}

function duration(seconds) {
  const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
  const [unit, length] = units.find(([, long]) => seconds >= long && seconds % long === 0) ?? units[2];
  const count = seconds / length;
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

async function undo() {
  if (!act) return;
  const reply = await connection.ask({ type: "undo", act: act.id });
  if (!reply.ok) ask({ title: "Not undone", text: reply.error, buttons: [] });
}
$("undo").addEventListener("click", undo);
$("clear").addEventListener("click", () =>
  ask({
    title: "Delete all unknown faces?",
    text: "All pictures of faces that nobody has named are deleted now. This cannot be undone.",
    buttons: [{ text: "Delete", kind: "danger", act: () => done({ type: "clear" }) }],
  }),
);
$("split").addEventListener("click", () => person.split());
$("remove").addEventListener("click", () => person.remove());
$("two").addEventListener("click", () => person.chooseOthers());

/** What is shown beside the people: the picture, the review, or somebody's page. */
function refresh() {
  const [view, who, more] = location.hash.slice(1).split("/");
  const shown = ["review", "library"].includes(view) || (view === "person" && who) ? view : "live";
  for (const one of ["live", "review", "person", "library"]) $(one).hidden = one !== shown;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${shown}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  let named = "";
  try {
    named = shown === "person" ? decodeURIComponent(who) : "";
  } catch {
    location.hash = "#live"; // an address that somebody has cut
  }
  photos.suggest(named);
  library.show(shown === "library" ? [who, more] : null);
  if (shown === "review") review.load();
  else if (named) person.load(named);
}
addEventListener("hashchange", () => {
  refresh();
  document.querySelector("main > section:not([hidden]) h2[tabindex]")?.focus();
});
refresh();

// -- teaching

function name(face, portrait) {
  const hint = askName(face, portrait);
  // This very face is meant, whoever steps before it meanwhile.
  connection.ask({ type: "choose", track: face.track }).then((reply) => reply.ok || hint(reply.error));
}

function askName(face, portrait) {
  const { track } = face;
  const known = face.name;
  return ask({
    title: known ? `Is this ${known}?` : "Who is this?",
    text: known ? "Correct the name, or keep it to teach more of the same person." : "",
    name: known ?? "",
    portrait,
    buttons: [
      {
        text: "Check that this is a live person",
        nameless: true,
        act: () => done({ type: "check", track }),
      },
      ...(known
        ? [{ text: `Not ${known}`, nameless: true, act: () => done({ type: "deny", track }) }]
        : []),
      {
        text: known ? "Save" : "Teach",
        kind: "main",
        act: (value) =>
          known && value !== known
            ? done({ type: "correct", track, name: value })
            : teach(face, value, portrait, Boolean(known)),
      },
    ],
  });
}

async function teach(face, value, portrait, sure = false) {
  const { track } = face;
  const reply = await connection.ask({ type: "teach", track, name: value, sure });
  if (reply.ok) return undefined;
  if (!reply.known) return reply.error;
  const other = reply.known.name;
  const surely = (who) => done({ type: "teach", track, name: who, sure: true });
  const again = () => {
    askName(face, portrait);
    return null;
  };
  const yes = { text: `Yes, ${other}`, kind: "main", act: () => surely(other) };
  const no = { text: `No, it is ${value}`, act: () => surely(value) };
  const same = { text: `It is ${other}`, act: () => surely(other) };
  const another = { text: "Another name", kind: "main", act: again };
  ask({
    title: `Is this ${other}?`,
    text: `${capital(reply.error)}.`,
    portrait,
    buttons: other === value ? [same, another] : [no, yes],
  });
  return null; // another question stands where this one was
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

async function done(command) {
  const reply = await connection.ask(command);
  return reply.ok ? undefined : reply.error;
}

const cancel = () => connection.ask({ type: "cancel" });
$("teaching-cancel").addEventListener("click", cancel);
addEventListener("keydown", (event) => {
  const typing = event.target instanceof Element && event.target.closest("input, select, dialog");
  if (event.key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !typing) {
    event.preventDefault();
    if (library.shown) library.undo();
    else undo();
  }
  if (event.key === "Escape" && !$("ask").open && LEARNING.includes(state?.teaching?.phase)) cancel();
});

$("check-stop").addEventListener("click", () => connection.ask({ type: "unchecked" }));

// -- this device's camera

async function toggleCamera() {
  if (camera.on) {
    connection.tell({ type: "camera", on: false });
    stopCamera();
    return;
  }
  try {
    $("camera").disabled = true;
    await camera.start(() => camera.on && toggleCamera());
    connection.tell({ type: "camera", on: true });
  } catch (error) {
    camera.stop();
    showStatus(error.message);
    ask({ title: "No camera", text: error.message, buttons: [] });
  } finally {
    $("camera").disabled = false;
  }
}

function stopCamera() {
  camera.stop();
  own = null;
}
$("camera").addEventListener("click", toggleCamera);

connection.open();
