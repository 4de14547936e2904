import { afterAll, describe, expect, it } from 'vitest';
import { gemmGroups, gemmKernel, type GemmFields } from '../src/webgpu/gemm.js';
import { requestDevice } from '../src/webgpu/index.js';
import { Program, type Task } from '../src/webgpu/program.js';
import { relativeError } from './engine-conformance.js';
import { openTestGpu } from './webgpu-adapter.js';

const COPY = 0x80 | 0x4 | 0x8;
const TILES = [
  { rows: 8, columns: 8 },
  { rows: 8, columns: 4 },
  { rows: 4, columns: 4 },
];

const found = await openTestGpu();

if (typeof found === 'string') {
  console.warn(`SKIPPED: the products of the webgpu engine are not tested, ${found}`);
  it.skip(`products of the webgpu engine: ${found}`, () => undefined);
} else {
  const { device } = await requestDevice(found.gpu);
  afterAll(() => device.destroy());
  describe.each([true, false])('products, shared: %s', (shared) => {
    it.each(TILES)('A B + bias of odd sizes in tiles of $rows x $columns', async (tile) => {
      const [m, n, k] = [77, 100, 48];
      const [a, b, bias] = [numbers(m * k, 1), numbers(k * n, 2), numbers(n, 3)];
      const kind = { transposed: false, a: 'vec4<f32>', b: 'vec4<f32>', bias: true, tile, shared } as const;
      const fields = { ...strides(n), m, k, lda: k / 4, partK: k };
      const c = await run(device, { source: gemmKernel(kind), fields, groups: gemmGroups(tile, m, n) }, [a, b], m * n, bias);
      expect(
        relativeError(
          c,
          product(m, n, k, (i, l) => a[i * k + l], b, bias),
        ),
      ).toBeLessThan(1e-6);
    });

    it.each(TILES)('transposed A in two parts of a depth that no tile divides, $rows x $columns', async (tile) => {
      const [m, n, k] = [76, 92, 53];
      const [a, b] = [numbers(k * m, 4), numbers(k * n, 5)];
      const kind = { transposed: true, a: 'vec4<f32>', b: 'vec4<f32>', bias: false, tile, shared } as const;
      const fields = { ...strides(n), m, k, lda: m / 4, partK: 32, partC: (m * n) / 4 };
      const parts = await run(device, { source: gemmKernel(kind), fields, groups: gemmGroups(tile, m, n, 2) }, [a, b], 2 * m * n);
      const sum = parts.subarray(0, m * n).map((value, i) => value + parts[m * n + i]);
      expect(
        relativeError(
          sum,
          product(m, n, k, (i, l) => a[l * m + i], b),
        ),
      ).toBeLessThan(1e-6);
    });
  });
}

function strides(n: number) {
  return { n4: n / 4, ldb: n / 4, ldc: n / 4, fromA: 0, fromB: 0, fromC: 0, partC: 0 };
}

interface Product {
  readonly source: Task['source'];
  readonly fields: GemmFields;
  readonly groups: [number, number, number];
}

async function run(
  device: GPUDevice,
  { source, fields, groups }: Product,
  inputs: Float32Array[],
  size: number,
  bias?: Float32Array,
) {
  const program = new Program(device, { f16: false, subgroups: false });
  const upload = (values: Float32Array) => {
    const buffer = program.buffer('input', values.byteLength, COPY);
    device.queue.writeBuffer(buffer, 0, values);
    return buffer;
  };
  const c = program.buffer('product', size * 4, COPY);
  const back = program.buffer('read back', size * 4, 0x1 | 0x8);
  const buffers = [...inputs.map(upload), c, ...(bias ? [upload(bias)] : [])];
  const task: Task = { source, buffers, fields: () => fields, groups: () => groups };
  await program.compile([task], 1);
  const encoder = device.createCommandEncoder();
  program.encode(encoder, [task]);
  encoder.copyBufferToBuffer(c, 0, back, 0, size * 4);
  device.queue.submit([encoder.finish()]);
  await back.mapAsync(0x1);
  const result = new Float32Array(back.getMappedRange().slice(0, size * 4));
  program.destroy();
  return result;
}

function product(m: number, n: number, k: number, a: (i: number, l: number) => number, b: Float32Array, bias?: Float32Array) {
  const c = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = bias?.[j] ?? 0;
      for (let l = 0; l < k; l++) sum += a(i, l) * b[l * n + j];
      c[i * n + j] = sum;
    }
  }
  return c;
}

function numbers(length: number, seed: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => Math.sin(i * 12.9898 + seed) * 0.9);
}
