// Runs the detector beside the page, which so stays alive meanwhile.

import * as ort from "./ort/ort.wasm.min.mjs";
import { resize } from "./resize.js";

ort.env.wasm.numThreads = 1; // more need headers that a plain static server does not send
const opening = ort.InferenceSession.create("detector.onnx", { logSeverityLevel: 3 });

// {id, pixels (RGBA), width, height, threshold} -> {id, faces: [{box: [x1, y1, x2, y2], score}]},
// boxes in the pixels that came, the best first; or {id, error}.
self.onmessage = async ({ data }) => {
  try {
    self.postMessage({ id: data.id, faces: await detect(await opening, data) });
  } catch (error) {
    self.postMessage({ id: data.id, error: String(error) });
  }
};

async function detect(session, { pixels, width, height, threshold }) {
  const ready = resize(pixels, width, height);
  const { boxes, scores } = await session.run({
    images: new ort.Tensor("uint8", ready.pixels, [1, ready.height, ready.width, 3]),
  });
  const faces = [];
  // ONNX Runtime Web has no optional inputs, so the file's own low threshold holds in it.
  for (let i = 0; i < scores.data.length; i++) {
    if (scores.data[i] < threshold) continue;
    const box = [0, 1, 2, 3].map((k) => {
      const place = boxes.data[4 * i + k] / ready.scale[k % 2];
      return Math.min(Math.max(place, 0), k % 2 ? height : width);
    });
    // Some lie in the padding.
    if (box[0] < box[2] && box[1] < box[3]) faces.push({ box, score: scores.data[i] });
  }
  return faces;
}
