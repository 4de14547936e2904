/** A coordinator behind a proxy, and one without a proxy whose clients send the headers of one. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { ADMIN, openViewer, scratch, startCoordinator, TOKEN, type RunningCoordinator, volunteersOf } from './running.js';

const NAME = 'train.example.org';
/** Headers of a proxy that appends to what the client sent. */
const FORWARDED = {
  'x-forwarded-for': '127.0.0.1, 203.0.113.7',
  'x-forwarded-proto': 'http, https',
  'x-forwarded-host': `localhost, ${NAME}`,
};

let cwd = '';
let behind: RunningCoordinator;
let alone: RunningCoordinator;

beforeAll(async () => {
  cwd = await scratch();
  const of = (name: string) => [`--out=${path.join(cwd, name)}`, `--allow-host=${NAME}`];
  behind = await startCoordinator(...of('behind'), '--behind-proxy');
  alone = await startCoordinator(...of('alone'));
});
afterAll(async () => {
  await Promise.all([behind.stop(), alone.stop()]);
  await fs.rm(cwd, { recursive: true, force: true });
});

/** The name under which a client is refused that sends nonsense on a control link. */
async function remoteOf({ host, event }: RunningCoordinator): Promise<string> {
  const socket = new WebSocket(`ws://${host}/control`, { headers: FORWARDED });
  socket.on('error', () => undefined);
  socket.on('open', () => socket.send(Uint8Array.of(1, 2, 3)));
  const { change, name } = await event('worker');
  socket.terminate();
  expect(change).toBe('refused');
  return name;
}

describe('behind a proxy', () => {
  it('workers have the last address that the proxy reports', async () => {
    expect(await remoteOf(behind)).toBe('203.0.113.7');
  });

  it('links lead to the proxy, printed ones and those shown to its clients', async () => {
    const link = `https://${NAME}/join/#token=${volunteersOf(TOKEN)}`;
    expect(await behind.event('listening')).toMatchObject({
      address: `ws://${behind.host}`,
      joinCommand: `TROUPE_TOKEN=${TOKEN} npm run troupe -- worker wss://${NAME}`,
      dashboard: `https://${NAME}/#admin=${ADMIN}`,
      volunteer: link,
    });
    expect((await behind.ask('/api/run', { token: ADMIN, headers: FORWARDED })).json.joinLink).toBe(link);
    const viewer = openViewer(`ws://${behind.host}/live`, { token: ADMIN }, FORWARDED);
    expect(await viewer.message(({ type }) => type === 'hello')).toMatchObject({ view: { joinLink: link } });
    viewer.socket.terminate();
  });

  it('only pages under the name of the proxy may send requests', async () => {
    const asking = { token: ADMIN, headers: { ...FORWARDED, origin: `https://${NAME}` } };
    expect((await behind.ask('/api/run', asking)).status).toBe(200);
    const evil = { ...FORWARDED, 'x-forwarded-host': 'evil.example' };
    expect((await behind.ask('/api/run', { token: ADMIN, headers: evil })).status).toBe(403);
  });
});

describe('without a proxy', () => {
  it('an address that a worker claims is ignored', async () => {
    expect(await remoteOf(alone)).toMatch(/^127\.0\.0\.1:\d+$/);
  });

  it('a host name that a browser claims changes no link', async () => {
    expect((await alone.ask('/api/run', { token: ADMIN, headers: FORWARDED })).json.joinLink).toBe(
      `http://${alone.host}/join/#token=${volunteersOf(TOKEN)}`,
    );
  });
});

describe('a note on what browsers lack without https', () => {
  const notes = ({ events }: RunningCoordinator): string =>
    events.flatMap((event) => (event.event === 'note' ? [`${event.text}: ${event.remedy}`] : [])).join('\n');
  let shorts = 0;
  const short = async (...flags: string[]): Promise<string> => {
    const run = await startCoordinator(`--out=${path.join(cwd, `short-${++shorts}`)}`, ...flags);
    await run.stop();
    return notes(run);
  };

  it('is given if other machines connect without https and without a proxy', async () => {
    expect(notes(alone)).not.toMatch(/one core/);
    expect(notes(behind)).not.toMatch(/one core|--allow-host/);
    expect(await short('--host=0.0.0.0')).toMatch(/browsers on other machines .* one core .*--tls-cert .*--behind-proxy/);
    expect(await short('--host=0.0.0.0', '--behind-proxy')).not.toMatch(/one core/);
  });

  it('is replaced by one on the missing name of the proxy', async () => {
    expect(await short('--behind-proxy')).toMatch(/--allow-host NAME/);
  });
});
