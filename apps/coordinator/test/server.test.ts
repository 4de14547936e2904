import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { latestCheckpoint } from '@troupe/checkpoint/node';
import { createRunHistory, type LiveMessage, type RunFacts, type WorkerView } from '@troupe/run';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createApi, type ApiParts } from '../src/web/api.js';
import { openapi } from '../src/web/openapi.js';
import {
  ADMIN,
  openViewer,
  scratch,
  startCoordinator,
  TOKEN,
  type Asking,
  type RunningCoordinator,
  volunteersOf,
} from './running.js';
import { problems } from './schema.js';

let cwd: string;
let out: string;
let run: RunningCoordinator;

const HOSTILE = '<img src=x onerror=alert(1)>\u001b[2J\u202e';

beforeAll(async () => {
  cwd = await scratch();
  out = path.join(cwd, 'runs', 'one');
  run = await startCoordinator(
    '--rounds=100000000',
    '--eval-every=10',
    '--sample-every=10',
    '--checkpoint-every=20',
    '--tensorboard',
    '--name=A <b>run</b>',
    '--organizer=Ann & Co.',
    `--out=${out}`,
  );
  run.join(HOSTILE);
  await run.round(25);
  await run.event('sample');
  await run.event('checkpoint');
});

afterAll(async () => {
  await run.stop();
  await fs.rm(cwd, { recursive: true, force: true });
});

const admin = (where: string) => run.ask(where, { token: ADMIN });
const view = async (): Promise<RunFacts> => (await admin('/api/run')).json;
const until = async (test: () => Promise<boolean>): Promise<void> => {
  while (!(await test())) await delay(10);
};
const learningRates = async (): Promise<number[]> => (await admin('/api/history?points=20000')).json.points.learningRate;

interface Operation {
  readonly security?: readonly object[];
  readonly responses: Readonly<Record<string, { readonly content: Readonly<Record<string, { readonly schema: object }>> }>>;
}
const operations = Object.entries(openapi.paths).map(
  ([where, methods]) => [where, ...(Object.entries(methods)[0] as unknown as [string, Operation])] as const,
);
const gets = operations.filter(([, method]) => method === 'get');

describe('the API', () => {
  it('describes all of its paths', () => {
    const board = { history: createRunHistory() };
    const { paths } = createApi({ board } as unknown as ApiParts);
    expect([...paths].sort()).toEqual(Object.keys(openapi.paths).sort());
  });

  it.each(gets)('%s answers as described', async (where, _, operation) => {
    const [[type, { schema }]] = Object.entries(operation.responses['200'].content);
    const { status, headers, json, text } = await admin(where);
    expect(status).toBe(200);
    expect(headers['content-type']).toMatch(new RegExp(`^${type}`));
    expect(text.length).toBeGreaterThan(0);
    if (json !== undefined) expect(problems(schema, json, openapi).slice(0, 5)).toEqual([]);
  });

  it.each(operations)('%s requires its token', async (where, method, { security }) => {
    const { status, json } = await run.ask(where, method === 'post' ? { body: {} } : {});
    if (security?.length === 0) expect(status).toBe(200);
    else expect({ status, code: json.code }).toEqual({ status: 401, code: 'no_token' });
  });

  it.each(operations)('%s refuses other methods and names the right one', async (where, method) => {
    const { status, headers } = await run.ask(where, { token: ADMIN, method: 'DELETE' });
    expect(status).toBe(405);
    expect(headers.allow).toBe(method === 'get' ? 'GET, HEAD' : 'POST');
  });

  it('answers a HEAD without a body', async () => {
    for (const where of ['/', '/api/run', '/api/checkpoint']) {
      const { status, text, headers } = await run.ask(where, { token: ADMIN, method: 'HEAD' });
      expect([status, text]).toEqual([200, '']);
      expect(Number(headers['content-length'])).toBeGreaterThan(0);
    }
  });

  it('describes the body of a control request', async () => {
    const request = openapi.components.schemas.ControlRequest;
    expect(problems(request, { action: 'set', clip: 1 }, openapi)).toEqual([]);
    expect(problems(request, { action: 'dance' }, openapi)).not.toEqual([]);
    expect((await run.steer({ action: 'dance' })).json).toMatchObject({ code: 'bad_request', remedy: /openapi/ });
  });

  it('refuses wrong parameters with a reason and a remedy', async () => {
    for (const query of ['points=2', 'points=many', 'from=-1', 'to=1e3']) {
      const { status, json } = await admin(`/api/history?${query}`);
      expect(status).toBe(400);
      expect(problems(openapi.components.schemas.Error, json, openapi)).toEqual([]);
    }
    expect((await admin('/api/nothing')).json).toMatchObject({ code: 'no_such_path' });
  });
});

describe('the model to take home', () => {
  it('is an attachment with a name, and the page is for volunteers too', async () => {
    const { status, headers, text } = await run.ask('/api/model/web', { token: TOKEN });
    expect([status, headers['content-type']]).toEqual([200, 'text/html; charset=utf-8']);
    expect(headers['content-disposition']).toMatch(/^attachment; filename="model-round-\d+\.html"$/);
    expect(text).toMatch(/^<!doctype html>[\s\S]*<\/html>\s*$/i);
    expect(headers['content-security-policy']).toContain("default-src 'none'");
  });

  it('is the same file for a HEAD, without its body', async () => {
    const asked = { token: ADMIN, method: 'HEAD' };
    const { headers, text } = await run.ask('/api/model/onnx', asked);
    expect([headers['content-type'], text]).toEqual(['application/gzip', '']);
    expect(Number(headers['content-length'])).toBeGreaterThan(1_000);
  });
});

describe('access', () => {
  it('with the token of workers shows the run, without what is for admins', async () => {
    const { json } = await run.ask('/api/run', { token: TOKEN });
    expect(json).toMatchObject({ name: 'A <b>run</b>', organizer: 'Ann & Co.', access: [] });
    expect(json.joinLink).toBeUndefined();
    expect(json.checkpoint).toBeUndefined();
    expect([json.workers, json.workerCount]).toEqual([[], 1]);
    for (const where of ['/api/events', '/api/history', '/metrics', '/api/checkpoint', '/api/model/weights']) {
      expect((await run.ask(where, { token: TOKEN })).json).toMatchObject({ code: 'wrong_token' });
    }
    expect((await run.ask('/api/control', { token: TOKEN, body: { action: 'pause' } })).status).toBe(401);
  });

  it('is refused to a browser that uses another host name', async () => {
    for (const where of ['/', '/api/run', '/join/']) {
      expect((await run.ask(where, { token: ADMIN, headers: { host: 'evil.example' } })).status).toBe(403);
    }
    expect((await run.ask('/healthz', { headers: { host: 'anything' } })).status).toBe(200);
    // Workers join under any name.
    const network = (token: string) => run.ask('/api/network', { token, headers: { host: 'anything' } });
    expect([(await network(TOKEN)).status, (await network('guessed')).status]).toEqual([200, 401]);
  });

  it('is refused to a page of another site', async () => {
    const headers = { origin: 'http://evil.example' };
    expect((await run.ask('/api/control', { token: ADMIN, body: { action: 'pause' }, headers })).json).toMatchObject({
      code: 'other_site',
    });
    const plain = { token: ADMIN, method: 'POST', headers: { 'content-type': 'text/plain' } };
    expect((await run.ask('/api/control', plain)).status).toBe(415);
    for (const path of ['live', 'control', 'reduce'])
      await expect(openViewer(`ws://${run.host}/${path}`, { token: ADMIN }, headers).closed).rejects.toThrow(/403/);
  });

  it('is refused with a body that is too long or is not JSON', async () => {
    expect((await run.steer({ action: 'kick', workerId: 'x'.repeat(20_000) })).status).toBe(413);
    const headers = { 'content-type': 'application/json' };
    expect((await run.ask('/api/control', { token: ADMIN, method: 'POST', headers })).json).toMatchObject({ code: 'bad_json' });
  });
});

describe('the pages', () => {
  it('have strict security headers', async () => {
    const { headers } = await run.ask('/');
    expect(headers['content-security-policy']).toMatch(/default-src 'none'/);
    expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' });
  });

  it('are the only files that can be requested', async () => {
    for (const where of [
      '/package.json',
      '/../package.json',
      '/join/../../package.json',
      '/join/%2e%2e/%2e%2e/package.json',
      '//etc/passwd',
      '/join//etc/passwd',
      '/headers.json',
      '/join/headers.json',
    ]) {
      expect((await run.ask(where)).status).toBe(404);
    }
    expect(await run.ask('/join')).toMatchObject({ status: 308, headers: { location: '/join/' } });
  });
});

describe('the view of the run', () => {
  it('has consistent figures', async () => {
    const { round, workers, validated, best, sample, lossHistory } = await view();
    expect(round).toBeGreaterThanOrEqual(25);
    // Parts end with the update, and a round with the coordinator's own step: a single slow step shows as a difference.
    const differenceMs = async (): Promise<number> => {
      const { roundMs, computeMs, transferMs, reduceMs, waitingMs } = (await view()).latest!;
      return Math.abs(computeMs + transferMs + reduceMs + waitingMs - roundMs) - roundMs / 100;
    };
    await expect.poll(differenceMs, { timeout: 10_000 }).toBeLessThan(1);
    expect(workers[0]).toMatchObject({ kind: 'node', engine: 'reference float64', streams: 4 });
    expect(validated!.validationLoss).toBeGreaterThanOrEqual(best!.validationLoss);
    expect(sample!.text.length).toBeGreaterThan(100);
    expect(lossHistory.length).toBeGreaterThan(10);
  });

  it('has the names of workers without control characters', async () => {
    const [worker] = (await view()).workers;
    expect(worker.name).toBe('<img src=x onerror=alert(1)>\ufffd[2J\ufffd');
    const { events } = (await admin('/api/events')).json;
    expect(JSON.stringify(events)).not.toMatch(/\\u001b|\u202e/);
  });

  it('has the gradient flow', async () => {
    await until(async () => (await admin('/api/flow')).json.flows.length > 0);
    const [flow] = (await admin('/api/flow')).json.flows;
    expect(flow.layers).toHaveLength(1);
    expect(flow.layers[0]).toHaveLength(8);
    expect(Math.min(...flow.layers[0])).toBeGreaterThan(0);
  });

  it('is listed among the runs of its folder', async () => {
    const { runs } = (await admin('/api/runs')).json;
    expect(runs.map(({ folder, current }: { folder: string; current: boolean }) => [folder, current])).toEqual([['one', true]]);
  });

  it('has metrics for Prometheus', async () => {
    const { text } = await admin('/metrics');
    const figure = (name: string): number => Number(new RegExp(`^${name} (.+)$`, 'm').exec(text)?.[1]);
    expect(figure('troupe_round')).toBeGreaterThanOrEqual(25);
    expect(figure('troupe_rounds_total')).toBeGreaterThanOrEqual(25);
    expect(figure('troupe_characters_total')).toBe(figure('troupe_rounds_total') * 32);
    expect(figure('troupe_round_seconds_count')).toBe(figure('troupe_rounds_total'));
    expect(figure('troupe_validation_loss')).toBeGreaterThan(1);
    expect(text).toMatch(/^troupe_workers\{state="(computing|ready)"\} 1$/m);
    expect(text).toMatch(/^troupe_decisions_total\{kind="reopened"\} 0$/m);
  });
});

describe('the live link', () => {
  const isUpdate = (message: LiveMessage) => message.type === 'update';

  it('sends the view, then what is new, at most four times a second', async () => {
    const viewer = run.live({ token: ADMIN });
    const hello = await viewer.message(({ type }) => type === 'hello');
    expect(hello).toMatchObject({ view: { access: ['read', 'admin'], name: 'A <b>run</b>' } });
    await delay(2_000);
    const updates = viewer.messages.filter(isUpdate);
    viewer.socket.close();
    expect(updates.length).toBeGreaterThan(2);
    expect(updates.length).toBeLessThanOrEqual(9);
    const rounds = updates.flatMap((message) => (message.type === 'update' ? (message.points?.round ?? []) : []));
    expect(rounds).toEqual([...new Set(rounds)].sort((a, b) => a - b));
    expect(rounds[0]).toBe((hello as { lastRound: number }).lastRound + 1);
    const seen = new Set(updates.flatMap((message) => Object.keys(message)));
    expect([...seen].sort()).toEqual(expect.arrayContaining(['evaluations', 'points', 'samples', 'view']));
  });

  it.each([{}, { token: 'guessed' }, { token: TOKEN }, 'no json', '[]', { token: 7 }, undefined])(
    'refuses viewers that may not read and says why: %j',
    async (hello) => {
      const viewer = run.live(hello);
      expect(await viewer.closed).toBe(4401);
      expect(viewer.messages).toEqual([expect.objectContaining({ type: 'refused', remedy: expect.stringMatching(/./) })]);
    },
  );
});

describe('the playground', () => {
  const play = (body: object) => run.ask('/api/sample', { token: ADMIN, body });
  const messages = (text: string) =>
    text
      .split('\n\n')
      .filter(Boolean)
      .map((event) => JSON.parse(event.replace(/^data: /, '')));

  it('continues a text, in the same way for the same seed and parameters', async () => {
    await run.steer({ action: 'pause' });
    await until(async () => (await view()).phase === 'paused');
    const body = { prime: 'Shall I compare', temperature: 0.8, topK: 10, length: 50, seed: 3 };
    const [first, second] = [messages((await play(body)).text), messages((await play(body)).text)];
    const marked = messages((await play({ ...body, prime: '\ufeffShall 漢I compare', skipUnknown: true })).text);
    await run.steer({ action: 'resume' });
    expect(marked).toEqual(first);
    expect(first[0]).toMatchObject({ type: 'start', seed: 3 });
    expect(first.at(-1)).toEqual({ type: 'end' });
    const text = first
      .filter(({ type }) => type === 'text')
      .map((message) => message.text)
      .join('');
    expect([...text]).toHaveLength(50);
    expect(second).toEqual(first);
  });

  it('refuses what it cannot continue', async () => {
    expect((await play({ prime: '漢字' })).json).toMatchObject({ code: 'unknown_character' });
    expect((await play({ prime: '漢字', skipUnknown: true })).json).toMatchObject({ code: 'unknown_character' });
    expect((await play({ length: 1_000_000 })).status).toBe(400);
    expect((await play({ temperature: 'hot' })).status).toBe(400);
    expect((await play({ nonsense: 1 })).status).toBe(400);
  });

  it('writes one text at a time for each client', async () => {
    const answers = await Promise.all([play({ length: 2_000 }), play({ length: 2_000 }), play({ length: 2_000 })]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 429, 429]);
    expect((await play({ length: 5 })).status).toBe(200);
  });
});

describe('control', () => {
  it('is shown to viewers at once', async () => {
    const viewer = run.live({ token: ADMIN });
    await viewer.message(({ type }) => type === 'hello');
    await run.steer({ action: 'pause' });
    const news = await viewer.message(
      (message) => message.type === 'update' && message.events?.some(({ kind }) => kind === 'control') === true,
    );
    await run.steer({ action: 'resume' });
    viewer.socket.close();
    // A validation may pause it as well.
    expect(news).toMatchObject({ view: { pausedBy: expect.arrayContaining(['admin']) } });
  });

  it('pauses and resumes, and says who paused', async () => {
    expect((await run.steer({ action: 'resume' })).json).toMatchObject({ code: 'not_paused' });
    expect((await run.steer({ action: 'pause' })).json).toMatchObject({ ok: true });
    await delay(100);
    const { phase, phaseReason, pausedBy, round, etaMs } = await view();
    expect({ phase, phaseReason, pausedBy, etaMs }).toEqual({
      phase: 'paused',
      phaseReason: 'paused by admin',
      pausedBy: ['admin'],
      etaMs: undefined,
    });
    await delay(200);
    expect((await view()).round).toBe(round);
    expect((await run.steer({ action: 'pause' })).json).toMatchObject({ code: 'paused' });
    await run.steer({ action: 'resume' });
    await run.round(round + 3);
    const { events } = (await admin('/api/events')).json;
    expect(events.filter((event: { kind: string }) => event.kind === 'control').length).toBeGreaterThanOrEqual(2);
  });

  it('saves on request, once for two concurrent requests, and serves the whole file', async () => {
    const [{ json }, again] = await Promise.all([run.steer({ action: 'checkpoint' }), run.steer({ action: 'checkpoint' })]);
    expect(again.json).toEqual(json);
    expect(json.ok).toBe(true);
    // The newest one, which may be later than the one that was asked for.
    const { headers } = await run.ask('/api/checkpoint', { token: ADMIN, method: 'HEAD' });
    const name = /filename="(round-\d+\.safetensors)"/.exec(String(headers['content-disposition']))?.[1];
    expect(name).toBeDefined();
    expect((await fs.stat(path.join(path.dirname(json.path), name!))).size).toBe(Number(headers['content-length']));
  });

  it('changes learning rate and clip from the next round', async () => {
    const reply = await run.steer({ action: 'set', learningRate: 0.002, clip: 0.125 });
    expect(reply.json.text).toMatch(/learning rate 0.002, clip 0.125/);
    const { round, config } = await view();
    expect(config).toMatchObject({ learningRate: 0.002, clip: 0.125 });
    await run.round(round + 3);
    expect((await learningRates()).at(-1)).toBe(0.002);
    expect((await learningRates())[0]).toBe(0.01);
    expect((await run.steer({ action: 'set' })).status).toBe(400);
    expect((await run.steer({ action: 'set', learningRate: 0 })).status).toBe(400);
    expect((await run.steer({ action: 'set', learningRate: 1001 })).json.message).toBe(
      'learningRate must be a number from 0 to 1000',
    );
    expect((await run.steer({ action: 'set', clip: -1 })).json.message).toBe('clip must be a number from 0 to 1000000000');
  });

  const workerNamed = async (name: string): Promise<WorkerView | undefined> =>
    (await view()).workers.find((worker) => worker.name === name && worker.state !== 'left');
  const joined = async (name: string) => {
    const worker = run.join(name);
    // On a fast machine one worker is enough for so small a model, and the others are parked.
    const SETTLED: readonly unknown[] = ['ready', 'computing', 'late', 'parked'];
    await until(async () => SETTLED.includes((await workerNamed(name))?.state));
    return { ...worker, id: (await workerNamed(name))!.id };
  };

  it('removes a worker, which does not return by itself', async () => {
    const { id, done } = await joined('guest');
    const { json } = await run.steer({ action: 'kick', workerId: id, reason: 'too\u001b loud' });
    expect(json.text).toBe('guest was removed: too\ufffd loud');
    expect(await done).toBe('ended');
    const gone = (await view()).workers.find((worker) => worker.id === id);
    expect(gone).toMatchObject({ state: 'left', reason: 'removed by an admin: too\ufffd loud' });
    expect((await run.steer({ action: 'kick', workerId: id })).json).toMatchObject({ code: 'no_such_worker' });
    const again = await joined('guest');
    again.leave();
    await again.done;
  });

  it('bans a worker, and admits others', async () => {
    const { id, done } = await joined('intruder');
    await run.steer({ action: 'ban', workerId: id });
    expect(await done).toBe('ended');
    expect(await run.join('intruder').done).toMatchObject({ name: 'WorkerRefused', code: 'banned' });
    const other = await joined('friend');
    other.leave();
    await other.done;
  });
});

describe('a run that is stopped and resumed', () => {
  it('continues with its history, its name and its changed settings', async () => {
    const before = await view();
    const viewer = run.live({ token: ADMIN });
    await viewer.message(({ type }) => type === 'hello');
    expect((await run.steer({ action: 'stop' })).json).toMatchObject({ ok: true });
    await run.ended;
    expect(await viewer.closed).toBe(1001);
    const stored = (await latestCheckpoint(out))!;
    expect(stored.checkpoint.config).toMatchObject({ learningRate: 0.002, clip: 0.125 });
    expect(await fs.readdir(path.join(out, 'tensorboard'))).toHaveLength(1);

    // As after a crash: rounds that are in no checkpoint, and a partial line.
    const file = path.join(out, 'history.jsonl');
    const last = stored.checkpoint.round;
    const beyond = JSON.stringify({ type: 'sample', sample: { round: last + 5, text: 'never happened' } });
    await fs.appendFile(file, `${beyond}\n{"type":"sam`);

    run = await startCoordinator('--resume', `--out=${out}`, '--organizer=Ann & Co.', '--eval-every=0', '--sample-every=0');
    const after = await view();
    expect(after).toMatchObject({ name: 'A <b>run</b>', startedAt: before.startedAt, round: last, runId: before.runId });
    expect(after.config).toMatchObject({ learningRate: 0.002, clip: 0.125 });
    const { points } = (await admin('/api/history?points=20000')).json;
    expect([points.round[0], points.round.at(-1)]).toEqual([1, last]);
    expect(JSON.stringify((await admin('/api/samples')).json)).not.toMatch(/never happened/);
    run.join('back again');
    await run.round(last + 3);
    expect((await learningRates()).at(-1)).toBe(0.002);
    const { events } = (await admin('/api/events')).json;
    const ids = events.map(({ id }: { id: number }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });
});

describe('a public run', () => {
  it('shows addresses of workers to admins alone', async () => {
    const other = await startCoordinator('--public', '--rounds=9', `--out=${path.join(cwd, 'other', 'open')}`);
    try {
      const viewer = other.live();
      await viewer.message(({ type }) => type === 'hello');
      const worker = other.join('');
      await other.event('finished');
      await worker.done;
      const all = async (asking: Asking) =>
        Promise.all(['/api/events', '/api/run', '/metrics'].map(async (where) => (await other.ask(where, asking)).text));
      const shown = [...(await all({})), ...(await all({ token: TOKEN })), JSON.stringify(viewer.messages)].join('\n');
      expect(shown).toMatch(/joined: from \(address hidden\)/);
      expect(shown).not.toMatch(/127\.0\.0\.1/);
      expect((await all({ token: ADMIN })).join('\n')).toMatch(/joined: from 127\.0\.0\.1:\d+/);
    } finally {
      await other.stop();
    }
  });

  it('can be read by everyone and controlled by admins; settings of a reproducible one are fixed', async () => {
    const folder = path.join(cwd, 'other', 'two');
    const other = await startCoordinator('--public', '--rounds=9', '--reproducible', `--out=${folder}`);
    try {
      const { json } = await other.ask('/api/run');
      expect(json).toMatchObject({ access: ['read'], phase: 'waiting', phaseReason: expect.stringMatching(/no worker/) });
      expect(json.joinLink).toBeUndefined();
      const viewer = other.live();
      expect(await viewer.message(({ type }) => type === 'hello')).toMatchObject({ view: { access: ['read'] } });
      expect((await other.ask('/api/control', { body: { action: 'pause' } })).json).toMatchObject({ code: 'no_token' });
      // It may hold passwords of TURN servers.
      expect((await other.ask('/api/network')).json).toMatchObject({ code: 'no_token' });
      expect((await other.steer({ action: 'set', clip: 1 })).json).toMatchObject({ code: 'reproducible' });
      expect((await other.ask('/api/checkpoint', { token: ADMIN })).json).toMatchObject({ code: 'no_checkpoint' });
    } finally {
      await other.stop();
    }
  });

  it('prints links with the tokens in the fragment, which servers do not log', async () => {
    const { dashboard, volunteer } = await run.event('listening');
    expect(dashboard).toBe(`http://${run.host}/#admin=${ADMIN}`);
    expect(volunteer).toBe(`http://${run.host}/join/#token=${volunteersOf(TOKEN)}`);
    expect((await view()).joinLink).toBe(volunteer);
  });
});
