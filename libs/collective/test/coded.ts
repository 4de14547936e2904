import { createVectorMemory, type CodedVector } from '@troupe/optim';

/** Decodes a vector. */
export function floats(coded: CodedVector): Float32Array {
  if (coded instanceof Float32Array) return coded;
  const memory = createVectorMemory(0);
  const parts = coded.map(({ values, scale }) => {
    const part = new Float32Array(values.length);
    memory.decodeHalf(values, scale, part);
    return [...part];
  });
  return Float32Array.from(parts.flat());
}
