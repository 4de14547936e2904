/** PyTorch is optional: found on Debian with python3-torch, or wherever TROUPE_PYTHON points. */
import { spawnSync } from 'node:child_process';

export const PYTHON = process.env.TROUPE_PYTHON ?? '/usr/bin/python3';

const REMEDY = 'or let TROUPE_PYTHON name a Python that has it';

/** The reference BLAS is what Debian's PyTorch computes with when nothing better is installed: some 15 times slower than OpenBLAS. */
const PROBE = `
import os, torch
maps = open('/proc/self/maps').read() if os.path.exists('/proc/self/maps') else ''
print('reference BLAS' if '/blas/libblas.so' in maps else 'fast BLAS')
`;

/** @returns {string | undefined} why PyTorch cannot be used; undefined = it can */
export function whyNoTorch() {
  return probe() === undefined ? `no PyTorch in ${PYTHON}: install it (Debian: apt install python3-torch) ${REMEDY}` : undefined;
}

/** @returns {string | undefined} why PyTorch's speed would mean nothing; undefined = it means something */
export function whyNoFastTorch() {
  if (probe() !== 'reference BLAS') return whyNoTorch();
  return `PyTorch in ${PYTHON} computes with the reference BLAS, which makes it many times slower than it need be: install OpenBLAS (Debian: apt install libopenblas0-pthread) ${REMEDY}`;
}

function probe() {
  const { status, stdout } = spawnSync(PYTHON, ['-c', PROBE], { timeout: 60_000, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}
