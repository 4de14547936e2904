import { describe, expect, it } from 'vitest';
import { RequestFailed, type Api } from '../src/link/api.js';
import { catchUp } from '../src/link/catch-up.js';
import type { Input } from '../src/state/state.js';

const unreachable = () => Promise.reject(new RequestFailed({ code: 'unreachable', message: 'no answer', remedy: '' }));

/** An API that answers everything with an empty object, but for `change`. */
function api(change: Partial<Record<keyof Api, () => Promise<never>>> = {}): Api {
  const answer = () => Promise.resolve({});
  return { history: answer, samples: answer, events: answer, flows: answer, runs: answer, ...change } as unknown as Api;
}

async function inputs(of: Api, signal = new AbortController().signal): Promise<Input['type'][]> {
  const types: Input['type'][] = [];
  await catchUp(of, ({ type }) => types.push(type), signal);
  return types.sort();
}

describe('catching up', () => {
  it('fetches everything that the live link does not repeat', async () => {
    expect(await inputs(api())).toEqual(['events', 'flows', 'history', 'runs', 'samples']);
  });

  it('takes what it gets when one request fails', async () => {
    expect(await inputs(api({ history: unreachable }))).toEqual(['events', 'flows', 'runs', 'samples']);
  });

  it('does not hide a bug', async () => {
    await expect(inputs(api({ runs: () => Promise.reject(new TypeError('a bug')) }))).rejects.toThrow('a bug');
  });

  it('ends without an error when it is aborted', async () => {
    const aborted = AbortSignal.abort();
    const fail = () => Promise.reject(aborted.reason as Error);
    expect(await inputs(api({ samples: fail, runs: fail }), aborted)).toEqual(['events', 'flows', 'history']);
  });
});
