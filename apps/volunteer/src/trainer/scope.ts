/** The global scope of a dedicated worker; the compiler knows either that of a page or that of a worker. */
export interface WorkerScope<In, Out> {
  readonly name: string;
  postMessage(message: Out): void;
  onmessage: ((event: { readonly data: In }) => void) | null;
}

export function workerScope<In, Out>(): WorkerScope<In, Out> {
  return globalThis as unknown as WorkerScope<In, Out>;
}
