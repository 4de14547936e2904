/** The first Ctrl-C aborts this signal: children end and scratch folders are removed. The second ends this process at once. */
const controller = new globalThis.AbortController();

for (const name of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.once(name, () => controller.abort(new Error(name)));

export const interruption = controller.signal;
