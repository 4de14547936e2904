import { floatOfHalf, halfOfFloat } from './half.js';
import type { Kernels } from './kernels.js';
import { int8Kernels } from './scalar-int8.js';

const { fround, imul } = Math;

/**
 * The kernels in plain TypeScript: the reference that tests compare the WebAssembly ones with, and
 * the fallback without SIMD.
 */
export function createScalarKernels(buffer: ArrayBuffer): Kernels {
  const f32 = new Float32Array(buffer);
  const f64 = new Float64Array(buffer);
  const u16 = new Uint16Array(buffer);
  const i32 = new Int32Array(buffer);
  return {
    ...codecKernels(f32, f64, u16),
    ...int8Kernels(buffer),
    ...reductionKernels(f64, u16, i32),
    ...stepKernels(f32, u16),
  };
}

type CodecKernels = Pick<
  Kernels,
  'encodeHalf' | 'decodeHalf' | 'addHalf' | 'addFloat' | 'storeHalf' | 'storeFloat' | 'scaleToFloat' | 'scaleToHalf'
>;

function codecKernels(f32: Float32Array, f64: Float64Array, u16: Uint16Array): CodecKernels {
  const decoded = (source: number, i: number, scale: number): number => fround(floatOfHalf(u16[(source >>> 1) + i]) * scale);
  return {
    encodeHalf(source, n, scale, target) {
      for (let i = 0; i < n; i++) u16[(target >>> 1) + i] = halfOfFloat(f32[(source >>> 2) + i] * scale);
    },
    decodeHalf(source, n, scale, target) {
      for (let i = 0; i < n; i++) f32[(target >>> 2) + i] = decoded(source, i, scale);
    },
    addHalf(sum, source, n, scale) {
      for (let i = 0; i < n; i++) f64[(sum >>> 3) + i] += decoded(source, i, scale);
    },
    addFloat(sum, source, n) {
      for (let i = 0; i < n; i++) f64[(sum >>> 3) + i] += f32[(source >>> 2) + i];
    },
    storeHalf(sum, source, n, scale) {
      for (let i = 0; i < n; i++) f64[(sum >>> 3) + i] = 0 + decoded(source, i, scale);
    },
    storeFloat(sum, source, n) {
      for (let i = 0; i < n; i++) f64[(sum >>> 3) + i] = 0 + f32[(source >>> 2) + i];
    },
    scaleToFloat(source, n, factor, target) {
      for (let i = 0; i < n; i++) f32[(target >>> 2) + i] = f64[(source >>> 3) + i] * factor;
    },
    scaleToHalf(source, n, factor, scale, target) {
      for (let i = 0; i < n; i++) u16[(target >>> 1) + i] = halfOfFloat(fround(f64[(source >>> 3) + i] * factor) * scale);
    },
  };
}

type ReductionKernels = Pick<Kernels, 'maxMagnitude' | 'maxMagnitudeHalf' | 'measure' | 'digestWords'>;

function reductionKernels(f64: Float64Array, u16: Uint16Array, i32: Int32Array): ReductionKernels {
  return {
    maxMagnitude(source, n) {
      let most = 0;
      for (let i = 0; i < n; i++) most = Math.max(most, i32[(source >>> 2) + i] & 0x7fffffff);
      return most;
    },
    maxMagnitudeHalf(source, n) {
      let most = 0;
      for (let i = 0; i < n; i++) most = Math.max(most, u16[(source >>> 1) + i] & 0x7fff);
      return most;
    },
    measure(source, n, squares) {
      let most = 0;
      for (let i = 0; i < n; i++) {
        const x = f64[(source >>> 3) + i];
        f64[(squares >>> 3) + (i & 3)] += x * x;
        most = Math.max(most, Math.abs(x));
      }
      return most;
    },
    digestWords(state, source, n) {
      for (let i = 0; i < n; i++) {
        const lane = (state >>> 2) + (i & 15);
        const sum = (i32[lane] + imul(i32[(source >>> 2) + i], 0x85ebca77)) | 0;
        i32[lane] = imul((sum << 13) | (sum >>> 19), 0x9e3779b1);
      }
    },
  };
}

/** Element i of an update, decoded. */
type Read = (i: number) => number;

function stepKernels(
  f32: Float32Array,
  u16: Uint16Array,
): Pick<Kernels, 'sgdStep' | 'sgdStepHalf' | 'adamStep' | 'adamStepHalf' | 'averageStep'> {
  const floats =
    (update: number): Read =>
    (i) =>
      f32[(update >>> 2) + i];
  const halves =
    (update: number, scale: number): Read =>
    (i) =>
      fround(floatOfHalf(u16[(update >>> 1) + i]) * scale);

  function sgd(p: number, velocity: number, read: Read, n: number, coefficients: number): void {
    const at = coefficients >>> 2;
    const [rate, momentum, decay, keep, take] = f32.subarray(at, at + 5);
    for (let i = 0; i < n; i++) {
      const x = f32[(p >>> 2) + i];
      const g = fround(read(i) + fround(decay * x));
      const v = fround(fround(momentum * f32[(velocity >>> 2) + i]) + g);
      f32[(velocity >>> 2) + i] = v;
      f32[(p >>> 2) + i] = x - fround(rate * fround(fround(keep * v) + fround(take * g)));
    }
  }

  function adam(p: number, first: number, second: number, read: Read, n: number, coefficients: number): void {
    const at = coefficients >>> 2;
    const [keep1, take1, keep2, take2, penalty, shrink, stepSize, rootScale, epsilon] = f32.subarray(at, at + 9);
    for (let i = 0; i < n; i++) {
      const x = f32[(p >>> 2) + i];
      const g = fround(read(i) + fround(penalty * x));
      const m = fround(fround(keep1 * f32[(first >>> 2) + i]) + fround(take1 * g));
      const v = fround(fround(keep2 * f32[(second >>> 2) + i]) + fround(take2 * fround(g * g)));
      const denominator = fround(fround(fround(Math.sqrt(v)) * rootScale) + epsilon);
      f32[(first >>> 2) + i] = m;
      f32[(second >>> 2) + i] = v;
      f32[(p >>> 2) + i] = fround(x * shrink) - fround(stepSize * fround(m / denominator));
    }
  }

  return {
    sgdStep: (p, velocity, update, n, c) => sgd(p, velocity, floats(update), n, c),
    sgdStepHalf: (p, velocity, update, n, scale, c) => sgd(p, velocity, halves(update, scale), n, c),
    adamStep: (p, first, second, update, n, c) => adam(p, first, second, floats(update), n, c),
    adamStepHalf: (p, first, second, update, n, scale, c) => adam(p, first, second, halves(update, scale), n, c),
    averageStep(average, p, n, take) {
      for (let i = 0; i < n; i++) {
        const old = f32[(average >>> 2) + i];
        f32[(average >>> 2) + i] = old + fround(take * fround(f32[(p >>> 2) + i] - old));
      }
    },
  };
}
