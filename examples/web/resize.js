// The resize of detector/inference/resize.py, bit for bit: Pillow's bilinear filter with
// antialiasing in fixed point (src/libImaging/Resample.c of Pillow 13; older ones differ by 1 of 255
// in tall pictures), then padding on the right and below.
// A canvas scales differently in every browser, and differently from that.

const BITS = 22;
const PAD = [124, 116, 104];

// {side, multiple} of the model -> {width, height} of the resized picture.
export function target(width, height, side) {
  const longest = Math.max(width, height);
  if (longest <= side) return { width, height };
  const factor = side / longest;
  const scaled = (size) => Math.max(1, roundHalfEven(size * factor));
  return { width: scaled(width), height: scaled(height) };
}

// RGBA pixels -> {pixels, width, height, scale}: RGB, padded, and the factors from old to new.
export function resize(rgba, width, height, side = 640, multiple = 32) {
  const to = target(width, height, side);
  const up = (size) => Math.ceil(size / multiple) * multiple;
  const padded = { width: up(to.width), height: up(to.height) };
  let rows = withoutAlpha(rgba);
  // As Pillow: the height first where it shrinks by more than twice as many pixels as the width.
  const tall = height - to.height > 0 && height - to.height > 2 * (width - to.width);
  if (tall) rows = vertical(rows, width, height, to.height);
  if (to.width !== width) rows = horizontal(rows, width, tall ? to.height : height, to.width);
  if (!tall && to.height !== height) rows = vertical(rows, to.width, height, to.height);
  const pixels = new Uint8Array(padded.width * padded.height * 3);
  for (let i = 0; i < pixels.length; i++) pixels[i] = PAD[i % 3];
  for (let y = 0; y < to.height; y++) {
    const row = rows.subarray(y * to.width * 3, (y + 1) * to.width * 3);
    pixels.set(row, y * padded.width * 3);
  }
  return { pixels, ...padded, scale: [to.width / width, to.height / height] };
}

function roundHalfEven(value) {
  const low = Math.floor(value);
  if (value - low === 0.5) return low + (low % 2);
  return Math.round(value);
}

function withoutAlpha(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let i = 0, k = 0; i < rgba.length; i += 4) {
    rgb[k++] = rgba[i];
    rgb[k++] = rgba[i + 1];
    rgb[k++] = rgba[i + 2];
  }
  return rgb;
}

// For every new pixel: the first old one, and the weights of it and the following.
function weights(from, to) {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - stretch + 0.5));
    const end = Math.min(from, Math.trunc(center + stretch + 0.5));
    const shares = [];
    let sum = 0;
    for (let x = 0; x < end - first; x++) {
      const distance = Math.abs((x + first - center + 0.5) * (1 / stretch));
      shares.push(distance < 1 ? 1 - distance : 0);
      sum += shares[x];
    }
    const fixed = shares.map((share) => Math.trunc(0.5 + (share / sum) * (1 << BITS)));
    return { first, fixed };
  });
}

function horizontal(rgb, width, height, to) {
  const out = new Uint8Array(to * height * 3);
  weights(width, to).forEach(({ first, fixed }, x) => {
    for (let y = 0; y < height; y++) {
      sum(rgb, (y * width + first) * 3, 3, fixed, out, (y * to + x) * 3);
    }
  });
  return out;
}

function vertical(rgb, width, height, to) {
  const out = new Uint8Array(width * to * 3);
  weights(height, to).forEach(({ first, fixed }, y) => {
    for (let x = 0; x < width; x++) {
      sum(rgb, (first * width + x) * 3, width * 3, fixed, out, (y * width + x) * 3);
    }
  });
  return out;
}

function sum(rgb, start, step, fixed, out, at) {
  let red = 1 << (BITS - 1);
  let green = red;
  let blue = red;
  for (let k = 0, i = start; k < fixed.length; k++, i += step) {
    red += rgb[i] * fixed[k];
    green += rgb[i + 1] * fixed[k];
    blue += rgb[i + 2] * fixed[k];
  }
  out[at] = red >> BITS;
  out[at + 1] = green >> BITS;
  out[at + 2] = blue >> BITS;
}
