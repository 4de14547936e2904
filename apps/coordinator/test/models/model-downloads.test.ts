import fs from 'node:fs/promises';
import path from 'node:path';
import type { ModelFile } from '@troupe/export/node';
import { LIMITS } from '@troupe/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createModelDownloads, type ModelDownloads, type ModelDownloadsOptions } from '../../src/models/model-downloads.js';
import { NotMade, type Making } from '../../src/models/model-maker.js';
import { scratch } from '../running.js';

let folder = '';
let over: AbortController;
let asked: { readonly making: Making; readonly settle: (bytes?: number) => void; readonly fail: (error: Error) => void }[] = [];

beforeEach(async () => {
  folder = await scratch();
  over = new AbortController();
  asked = [];
  await save('1');
});
afterEach(() => fs.rm(folder, { recursive: true, force: true }));

/** Only its name, size and time matter here. */
const save = (content: string) => fs.writeFile(path.join(folder, 'best.safetensors'), content);

const fileOf = ({ form }: Making, bytes: number): ModelFile => ({
  name: `${form}.bin`,
  type: 'application/octet-stream',
  bytes: new Uint8Array(bytes),
});

/** Each making waits until the test settles it. */
function downloads(options: Partial<ModelDownloadsOptions> = {}): ModelDownloads {
  return createModelDownloads({
    ...{ folder, parameters: 10, withoutModel: 'Wait.', over: over.signal },
    make: (making, signal) =>
      new Promise((resolve, reject) => {
        asked.push({ making, settle: (bytes = 1) => resolve(fileOf(making, bytes)), fail: reject });
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      }),
    ...options,
  });
}

const nameOf = async (models: ModelDownloads, form: Making['form']): Promise<string> => {
  let name = '';
  await models.serve(form, undefined, async (file) => void (name = file.name));
  return name;
};

/** Until this many have been asked for. */
async function making(count: number): Promise<(typeof asked)[number]> {
  while (asked.length < count) await new Promise((resolve) => setTimeout(resolve, 2));
  return asked[count - 1];
}

describe('the files of a model', () => {
  it('are made one at a time, and each once for all who ask', async () => {
    const models = downloads();
    const names = Promise.all([nameOf(models, 'web'), nameOf(models, 'onnx'), nameOf(models, 'web')]);
    (await making(1)).settle();
    await new Promise((resolve) => setTimeout(resolve, 10));
    (await making(2)).settle();
    expect((await names).sort()).toEqual(['onnx.bin', 'web.bin', 'web.bin']);
    expect(asked.map((one) => one.making.form).sort()).toEqual(['onnx', 'web']);
  });

  it('wait for each other', async () => {
    const models = downloads();
    const both = [nameOf(models, 'web'), nameOf(models, 'onnx')];
    await making(1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(asked).toHaveLength(1);
    asked[0].settle();
    (await making(2)).settle();
    await Promise.all(both);
  });

  it('are kept until there is a better model', async () => {
    const models = downloads();
    const first = nameOf(models, 'web');
    (await making(1)).settle();
    await first;
    await nameOf(models, 'web');
    expect(asked).toHaveLength(1);
    await save('a better one');
    const second = nameOf(models, 'web');
    (await making(2)).settle();
    await second;
  });

  it('are not kept when together they are too large', async () => {
    const models = downloads();
    for (const [i, form] of (['web', 'onnx'] as const).entries()) {
      const one = nameOf(models, form);
      (await making(i + 1)).settle(LIMITS.modelCacheBytes * 0.6);
      await one;
    }
    await nameOf(models, 'onnx');
    expect(asked).toHaveLength(2);
    const again = nameOf(models, 'web');
    (await making(3)).settle();
    await again;
  });

  it('are tried again after a failure, which says what to do', async () => {
    const models = downloads();
    const failing = nameOf(models, 'web');
    const error = new NotMade({ code: 'out_of_range', message: `${folder}/best: a weight is NaN`, remedy: 'Use another.' });
    (await making(1)).fail(error);
    await expect(failing).rejects.toMatchObject({ status: 409, code: 'out_of_range', message: 'best: a weight is NaN' });
    const again = nameOf(models, 'web');
    (await making(2)).settle();
    expect(await again).toBe('web.bin');
  });

  it('are not there before the first checkpoint', async () => {
    await fs.rm(path.join(folder, 'best.safetensors'));
    await expect(nameOf(downloads(), 'web')).rejects.toMatchObject({ status: 404, code: 'no_checkpoint', remedy: 'Wait.' });
  });

  it('are not made of a model that is too large, and the command for it is named', async () => {
    const models = downloads({ parameters: LIMITS.modelWeightBytes / 4 + 1 });
    const refusal = { status: 409, code: 'too_large', remedy: expect.stringContaining('export --weights-only') as string };
    await expect(nameOf(models, 'weights')).rejects.toMatchObject(refusal);
    expect(asked).toEqual([]);
  });

  it('go to a limited number of people at the same time', async () => {
    const models = downloads();
    const all = Array.from({ length: LIMITS.modelDownloads }, () => nameOf(models, 'web'));
    await expect(nameOf(models, 'web')).rejects.toMatchObject({ status: 503, code: 'busy' });
    (await making(1)).settle();
    await Promise.all(all);
    expect(await nameOf(models, 'web')).toBe('web.bin');
  });

  it('are no longer made when the run is over', async () => {
    const one = nameOf(downloads(), 'web');
    await making(1);
    over.abort(new Error('over'));
    await expect(one).rejects.toMatchObject({ status: 503, code: 'run_over' });
  });

  it('leave places for others when one address asks for many', async () => {
    const models = downloads();
    const ended = new Map<string, () => void>();
    const hold = (name: string, address: string | undefined): Promise<void> =>
      models.serve('web', address, () => new Promise((resolve) => ended.set(name, resolve)));
    const until = async (count: number): Promise<void> => {
      while (ended.size < count) await new Promise((resolve) => setTimeout(resolve, 2));
    };
    const most = LIMITS.modelDownloadsPerAddress;
    const first = hold('first', 'a');
    const open = Array.from({ length: most - 1 }, (_, i) => hold(`a${i}`, 'a'));
    (await making(1)).settle();
    await until(most);
    await expect(hold('more', 'a')).rejects.toMatchObject({ status: 429, code: 'too_many_downloads' });
    open.push(hold('b', 'b'), ...Array.from({ length: most + 1 }, (_, i) => hold(`local${i}`, undefined)));
    await until(2 * most + 2);
    ended.get('first')!();
    await first;
    open.push(hold('again', 'a'));
    await until(2 * most + 3);
    for (const end of ended.values()) end();
    await Promise.all(open);
  });
});
