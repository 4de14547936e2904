/** Whether this browser can take part, known before anything is downloaded. */
export interface Host {
  readonly webAssembly: boolean;
  /** A module with SIMD instructions is valid. */
  readonly simd: boolean;
  readonly workers: boolean;
  readonly webSockets: boolean;
}

/** `() -> v128`: i32.const 0, i8x16.splat, end. */
export const SIMD_MODULE = Uint8Array.from([
  ...[0, 97, 115, 109, 1, 0, 0, 0],
  ...[1, 5, 1, 96, 0, 1, 123],
  ...[3, 2, 1, 0],
  ...[10, 8, 1, 6, 0, 65, 0, 253, 15, 11],
]);

/** @returns why the browser cannot take part: a code that texts.ts explains */
export function obstacle(host: Host, token: string): 'no_token' | 'no_wasm' | 'no_workers' | undefined {
  if (!host.workers || !host.webSockets) return 'no_workers';
  if (!host.webAssembly || !host.simd) return 'no_wasm';
  return token === '' ? 'no_token' : undefined;
}
