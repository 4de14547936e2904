/** The coordinator's API over HTTP. */
import type { ApiError, ControlReply, PlayMessage } from '@troupe/run';
import { createEventStream } from '../reading/event-stream.js';
import { RequestFailed, type Api, type ServedFile } from './api.js';

/** An answer must begin within this time. It is long because the coordinator first writes a checkpoint that is asked for. */
const ANSWER_MS = 30_000;
/** The same for a file that is made of the model first. */
const MODEL_MS = 150_000;

/** All methods reject with RequestFailed when the coordinator refuses or cannot be reached. */
export function createApi(base: URL, token: () => string | undefined): Api {
  const send = async (path: string, init: RequestInit, outer?: AbortSignal, answerMs = ANSWER_MS): Promise<Response> => {
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(new Error('no answer')), answerMs);
    try {
      const shown = token();
      const headers = { ...(init.headers as Record<string, string>), ...(shown && { authorization: `Bearer ${shown}` }) };
      const signal = outer ? AbortSignal.any([outer, deadline.signal]) : deadline.signal;
      const response = await fetch(new URL(path, base), { ...init, headers, signal, cache: 'no-store' });
      if (!response.ok) throw new RequestFailed(await problem(response));
      return response;
    } catch (error) {
      if (error instanceof RequestFailed || outer?.aborted) throw error;
      throw unreachable(error);
    } finally {
      clearTimeout(timer);
    }
  };
  const get = async <T>(path: string, signal: AbortSignal): Promise<T> => (await send(path, {}, signal)).json() as Promise<T>;
  const post = (path: string, body: unknown, signal?: AbortSignal): Promise<Response> =>
    send(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }, signal);

  return {
    history: (range, points, signal) =>
      get(`api/history?${range ? `from=${range.from}&to=${range.to}&` : ''}points=${points}`, signal),
    samples: (signal) => get('api/samples', signal),
    events: (after, signal) => get(`api/events?after=${after}`, signal),
    flows: (signal) => get('api/flow', signal),
    runs: (signal) => get('api/runs', signal),
    credits: (signal) => get('api/credits', signal),
    bans: (signal) => get('api/bans', signal),
    control: async (request) => (await post('api/control', request)).json() as Promise<ControlReply>,
    play: async (request, onMessage, signal) => stream(await post('api/sample', request, signal), onMessage),
    checkpoint: async () => fileIn(await send('api/checkpoint', {})),
    model: async (form) => fileIn(await send(`api/model/${form}`, {}, undefined, MODEL_MS)),
  };
}

function unreachable(error: unknown): RequestFailed {
  return new RequestFailed({ code: 'unreachable', message: (error as Error).message, remedy: '' });
}

async function problem(response: Response): Promise<ApiError> {
  try {
    const { code, message, remedy } = (await response.json()) as Partial<ApiError>;
    return { code: code ?? `http_${response.status}`, message: message ?? response.statusText, remedy: remedy ?? '' };
  } catch {
    // The answer is not the coordinator's but a proxy's.
    return { code: `http_${response.status}`, message: response.statusText || `HTTP ${response.status}`, remedy: '' };
  }
}

async function stream(response: Response, onMessage: (message: PlayMessage) => void): Promise<void> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  const events = createEventStream();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const data of events.feed(value)) onMessage(JSON.parse(data) as PlayMessage);
  }
}

/** @throws RequestFailed if the link breaks within the file */
async function fileIn(response: Response): Promise<ServedFile> {
  const blob = await response.blob().catch((error: unknown) => {
    throw unreachable(error);
  });
  return { blob, name: fileName(response) };
}

const fileName = (response: Response): string =>
  /filename="?([\w.-]+)"?/.exec(response.headers.get('content-disposition') ?? '')?.[1] ?? 'checkpoint.safetensors';
