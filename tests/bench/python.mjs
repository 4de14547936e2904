/** PyTorch is optional. Debian's python3-torch is found by itself; TROUPE_PYTHON names any other Python. */
import { spawnSync } from 'node:child_process';

export const PYTHON = process.env.TROUPE_PYTHON ?? '/usr/bin/python3';

const REMEDY = 'or set TROUPE_PYTHON to a Python that has it';

/** Debian's PyTorch uses the reference BLAS if no better one is installed. That is about 15 times slower than OpenBLAS. */
const PROBE = `
import os, torch
maps = open('/proc/self/maps').read() if os.path.exists('/proc/self/maps') else ''
print('reference BLAS' if '/blas/libblas.so' in maps else 'fast BLAS')
`;

/** @returns {string | undefined} why PyTorch cannot be used; undefined = it can */
export function whyNoTorch() {
  return probe() === undefined ? `no PyTorch in ${PYTHON}: install it (Debian: apt install python3-torch) ${REMEDY}` : undefined;
}

/** @returns {string | undefined} why PyTorch's speed would be misleading; undefined = it would not */
export function whyNoFastTorch() {
  if (probe() !== 'reference BLAS') return whyNoTorch();
  return `PyTorch in ${PYTHON} computes with the reference BLAS, which is many times slower than necessary: install OpenBLAS (Debian: apt install libopenblas0-pthread) ${REMEDY}`;
}

function probe() {
  const { status, stdout } = spawnSync(PYTHON, ['-c', PROBE], { timeout: 60_000, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}
