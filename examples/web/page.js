// A photo that is dropped or chosen, or the camera: pixels to the worker, boxes onto the canvas.

const MAX_PIXELS = 100_000_000;
const $ = (id) => document.getElementById(id);
const canvas = $("picture");
const context = canvas.getContext("2d", { willReadFrequently: true });
const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map();
let count = 0;
let stream = null;

worker.onmessage = ({ data }) => {
  const { resolve, reject } = waiting.get(data.id);
  waiting.delete(data.id);
  data.error ? reject(new Error(data.error)) : resolve(data.faces);
};
worker.onerror = (event) => say(`the detector cannot start (${event.message}): run fetch.py first`);

function say(text) {
  $("status").textContent = text;
}

function detect(image, width, height) {
  canvas.width = width;
  canvas.height = height;
  context.drawImage(image, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const threshold = Number($("threshold").value);
  const id = count++;
  const answer = new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  worker.postMessage({ id, pixels: data, width, height, threshold }, [data.buffer]);
  return answer;
}

function show(faces) {
  context.lineWidth = Math.max(2, canvas.width / 400);
  context.strokeStyle = "#ffb000";
  for (const { box } of faces) {
    context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
  }
  const rows = faces.map(({ box, score }) =>
    [...box.map((x) => x.toFixed(2)), score.toFixed(3)].join(" "),
  );
  $("boxes").textContent = rows.join("\n");
}

async function photo(file) {
  stop();
  say(`looking at ${file.name} ...`);
  $("boxes").textContent = "";
  try {
    // Upright, as EXIF says; the colors as they are in the file, as Faces takes them.
    const options = { imageOrientation: "from-image", colorSpaceConversion: "none" };
    const image = await createImageBitmap(file, options).catch(() => {
      throw new Error("this browser cannot read it: save it as JPEG or PNG");
    });
    if (image.width * image.height > MAX_PIXELS) throw new Error("it is too large: make it smaller");
    const begin = performance.now();
    const faces = await detect(image, image.width, image.height);
    show(faces);
    say(`${file.name}: ${faces.length} faces, ${Math.round(performance.now() - begin)} ms`);
  } catch (error) {
    say(`${file.name}: ${error.message}`);
  }
}

async function camera() {
  if (stream) return stop();
  const video = document.createElement("video");
  try {
    const opened = await navigator.mediaDevices.getUserMedia({ video: true });
    stream = opened;
    $("camera").textContent = "Stop the camera";
    video.srcObject = opened;
    video.muted = true;
    await video.play();
    while (stream === opened) {
      const begin = performance.now();
      const faces = await detect(video, video.videoWidth, video.videoHeight);
      if (stream !== opened) break;
      show(faces);
      say(`camera: ${faces.length} faces, ${Math.round(performance.now() - begin)} ms`);
      await new Promise(requestAnimationFrame);
    }
  } catch (error) {
    stop();
    say(`camera: ${error.message}`);
  }
}

function stop() {
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  $("camera").textContent = "Use the camera";
}

$("camera").onclick = camera;
$("file").onchange = () => $("file").files[0] && photo($("file").files[0]);
document.ondragover = (event) => event.preventDefault();
document.ondrop = (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) photo(event.dataTransfer.files[0]);
};
