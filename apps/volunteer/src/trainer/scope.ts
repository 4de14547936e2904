/** What a dedicated worker has and a page lacks; the compiler knows only one of the two at a time. */
export interface WorkerScope<In, Out> {
  readonly name: string;
  postMessage(message: Out): void;
  onmessage: ((event: { readonly data: In }) => void) | null;
}

export function workerScope<In, Out>(): WorkerScope<In, Out> {
  return globalThis as unknown as WorkerScope<In, Out>;
}
