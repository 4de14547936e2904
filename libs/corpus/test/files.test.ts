import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '@troupe/config/limits';
import { loadCorpus, type LoadOptions } from '../src/node/index.js';

const digest = (content: string | Uint8Array) => createHash('sha256').update(content).digest('hex');
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'troupe-files-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function write(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name);
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, content);
  return path;
}

async function load(path: string, options?: LoadOptions) {
  const corpus = await loadCorpus(path, options);
  return { ...corpus, text: corpus.vocabulary.decode(corpus.tokens) };
}

const utf32 = (text: string, littleEndian: boolean) => {
  const view = new DataView(new ArrayBuffer(4 * [...text].length));
  for (const [i, character] of [...text].entries()) view.setUint32(4 * i, character.codePointAt(0)!, littleEndian);
  return Buffer.from(view.buffer);
};
const utf16be = (text: string) => Buffer.from(text, 'utf16le').swap16();

describe('a text with a byte order mark', () => {
  const TEXT = '\ufeffShall I 你好 😀?\r\n'.repeat(1) + 'end\n';
  it.each([
    ['UTF-8', Buffer.from(TEXT)],
    ['UTF-16LE', Buffer.from(TEXT, 'utf16le')],
    ['UTF-16BE', utf16be(TEXT)],
    ['UTF-32LE', utf32(TEXT, true)],
    ['UTF-32BE', utf32(TEXT, false)],
  ])('is read in %s, and is the same corpus as in UTF-8', async (_, bytes) => {
    const corpus = await load(await write('a.txt', bytes), { encoding: 'windows-1251' });
    expect(corpus.text).toBe('Shall I 你好 😀?\nend\n');
    expect(corpus.sha256).toBe(digest('Shall I 你好 😀?\nend\n'));
    expect(corpus.source.sha256).toBe(digest(bytes));
  });

  it('is damaged when its last character is cut', async () => {
    const path = await write('a.txt', Buffer.from(TEXT, 'utf16le').subarray(0, -1));
    await expect(load(path)).rejects.toMatchObject({ code: 'wrong_encoding', remedy: expect.stringContaining('damaged') });
  });
});

describe('a text that is cut within its last character', () => {
  it.each([
    ['Chinese', '春眠不觉晓，处处闻啼鸟。'.repeat(500)],
    ['long, with few such characters', `caf\u00e9\n${'Shall I compare thee?\n'.repeat(30_000)}\u20ac`],
  ])('is damaged, and no encoding is guessed: %s', async (_, text) => {
    const bytes = Buffer.from(text);
    const path = await write('a.txt', bytes.subarray(0, -1));
    await expect(load(path)).rejects.toMatchObject({
      code: 'not_utf8',
      message: expect.stringMatching(/: the file ends within a character$/),
      remedy: expect.stringMatching(/^The file is damaged or cut: get it again/),
    });
  });

  it('is damaged in another encoding too', async () => {
    const path = await write('a.txt', GB2312.subarray(0, -2));
    await expect(load(path, { encoding: 'gb18030' })).rejects.toMatchObject({
      code: 'wrong_encoding',
      remedy: expect.stringMatching(/^The file is damaged or cut: get it again/),
    });
  });

  it('has its encoding guessed from the line before when nothing before shows one', async () => {
    const path = await write('a.txt', Buffer.from('A table in the old caf\u00e9', 'latin1'));
    await expect(load(path)).rejects.toMatchObject({ remedy: expect.stringContaining('"A table in the old caf\u00e9"') });
  });
});

/** Bytes of a text in encodings that Node does not write; the samples are in iconv's output. */
const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const GB2312 = hex(
  'b4ba c3df b2bb be f5cf fea3 acb4 a6b4 a6ce c5cc e4c4 f1a1 a30a d2b9 c0b4 b7e7 d3ea c9f9 a3ac bba8 c2e4 d6aa b6e0 c9d9 a1a3 0a',
);
const CHINESE = '春眠不觉晓，处处闻啼鸟。\n夜来风雨声，花落知多少。\n';

describe('a text that is not UTF-8', () => {
  it('is not trained on as mojibake: its encoding is named, with a line of how it would read', async () => {
    const path = await write('poem.txt', Buffer.concat(Array<Uint8Array>(50).fill(GB2312)));
    await expect(load(path)).rejects.toMatchObject({
      code: 'not_utf8',
      message: `${path} is not UTF-8: byte 0 (0xb4) is invalid`,
      remedy: expect.stringMatching(
        /^A line of it would read as gb18030: "春眠不觉晓，处处闻啼鸟。"\. If that is right, add --encoding gb18030\./,
      ),
    });
  });

  it('is read when its encoding is given', async () => {
    const path = await write('poem.txt', GB2312);
    expect((await load(path, { encoding: 'GB18030' })).text).toBe(CHINESE);
    expect((await load(path, { encoding: 'gb2312' })).sha256).toBe(digest(CHINESE));
  });

  it.each([
    [
      'windows-1252',
      Buffer.from('Le caf\u00e9 \u00e9tait ferm\u00e9, d\u00e9j\u00e0.\n'.repeat(40), 'latin1'),
      'Le café était fermé, déjà.',
    ],
    [
      'windows-1251',
      hex('cceee920 e4ffe4ff 20f1e0ec fbf520f7 e5f1f2ed fbf520ef f0e0e2e8 eb2c0a'),
      'Мой дядя самых честных правил,',
    ],
  ])('is guessed to be %s', async (encoding, bytes, line) => {
    const path = await write('a.txt', bytes);
    const remedy = expect.stringContaining(`as ${encoding}: ${JSON.stringify(line)}`) as string;
    await expect(load(path)).rejects.toMatchObject({ code: 'not_utf8', remedy });
  });

  it('is guessed by the line of the first bad byte, however late that comes', async () => {
    const path = await write('a.txt', Buffer.concat([Buffer.from('plain text\n'.repeat(60_000)), GB2312]));
    await expect(load(path)).rejects.toMatchObject({
      message: expect.stringContaining('byte 660000 (0xb4)'),
      remedy: expect.stringContaining('as gb18030: "春眠不觉晓，处处闻啼鸟。"'),
    });
  });

  it('is called damaged when most of it is UTF-8', async () => {
    const path = await write('a.txt', Buffer.concat([Buffer.from(CHINESE), Buffer.from([0xff]), Buffer.from(CHINESE)]));
    await expect(load(path)).rejects.toMatchObject({
      code: 'not_utf8',
      remedy: expect.stringMatching(/^The file is damaged there/),
    });
  });

  it('is recognised as UTF-16 without a byte order mark', async () => {
    const path = await write('a.txt', utf16be('Shall I compare thee to a summer day?\n'));
    await expect(load(path)).rejects.toMatchObject({
      code: 'not_utf8',
      remedy: expect.stringContaining(
        'as utf-16be: "Shall I compare thee to a summer day?". If that is right, add --encoding utf-16be.',
      ),
    });
    expect((await load(path, { encoding: 'utf-16be' })).text).toBe('Shall I compare thee to a summer day?\n');
  });

  it('is refused when the given encoding is wrong or unknown', async () => {
    const latin = await write('b.txt', Buffer.from('ab\u00e9 c\n', 'latin1'));
    await expect(load(latin, { encoding: 'shift_jis' })).rejects.toMatchObject({ code: 'wrong_encoding' });
    await expect(load(latin, { encoding: 'klingon' })).rejects.toMatchObject({
      code: 'bad_encoding',
      remedy: expect.stringContaining('gb18030'),
    });
  });

  it('is decoded alike wherever its characters are cut between reads', async () => {
    const text = CHINESE.repeat(9_000);
    const path = await write('a.txt', `x${text}`);
    expect((await load(path)).sha256).toBe(digest(`x${text}`));
  });
});

describe('a file that is no text', () => {
  it.each([
    ['zip', 'PK\x03\x04....', /zip archive/],
    ['pdf', '%PDF-1.7\n', /a PDF document/],
    ['png', '\x89PNG\r\n', /a PNG image/],
    ['tar', `${'x'.repeat(257)}ustar`, /a tar archive/],
  ])('is named as what it is: %s', async (name, head, kind) => {
    const path = await write(`a.${name}`, Buffer.concat([Buffer.from(head, 'latin1'), Buffer.alloc(100, 0x41)]));
    await expect(load(path)).rejects.toMatchObject({ code: 'binary', message: expect.stringMatching(kind) });
  });

  it('is recognised inside gzip too', async () => {
    const path = await write('a.tar.gz', gzipSync(`${'x'.repeat(257)}ustar`));
    await expect(load(path)).rejects.toMatchObject({ code: 'binary', message: expect.stringContaining('a tar archive') });
  });
});

describe('a text compressed with gzip', () => {
  it('is the same corpus as the text itself, under any file name', async () => {
    const plain = await load(await write('a.txt', 'one\ntwo\n'));
    const packed = await load(await write('a.txt.gz', gzipSync('\ufeffone\r\ntwo\n')));
    expect(packed.sha256).toBe(plain.sha256);
    expect(packed.name).toBe('a.txt');
    expect((await load(await write('b', gzipSync('one\ntwo\n')))).text).toBe('one\ntwo\n');
  });

  it('is refused when it is damaged', async () => {
    const path = await write('a.gz', gzipSync('one two three '.repeat(1000)).subarray(0, 40));
    await expect(load(path)).rejects.toMatchObject({
      code: 'cannot_read',
      message: expect.stringContaining('damaged gzip file'),
    });
  });
});

describe('a folder', () => {
  it('is one corpus of its text files, in the order of their paths', async () => {
    await write('book/b.txt', 'second\n');
    await write('book/a.txt', 'first, without a line break at its end');
    await write('book/c/d.txt.gz', gzipSync('third\n'));
    await write('book/.hidden', 'not this');
    await write('book/.git/config', 'nor this');
    await symlink('..', join(folder, 'book', 'loop'));
    const corpus = await load(join(folder, 'book'));
    expect(corpus.text).toBe('first, without a line break at its end\nsecond\nthird\n');
    expect(corpus).toMatchObject({ name: 'book', files: 3, skipped: [], source: { kind: 'file', path: join(folder, 'book') } });
    expect((await load(`${join(folder, 'book')}/`)).name).toBe('book');
  });

  it('leaves files out that are no text, and says which', async () => {
    await write('book/a.txt', 'text\n');
    const cover = await write('book/cover.png', '\x89PNG\r\n');
    await writeFile(cover, Buffer.from('\x89PNG\r\n', 'latin1'));
    const corpus = await load(join(folder, 'book'));
    expect(corpus.text).toBe('text\n');
    expect(corpus.skipped).toEqual([{ path: cover, why: `${cover} is a PNG image, not a text file` }]);
  });

  it('is refused when a text in it has another encoding, instead of leaving that out', async () => {
    await write('book/a.txt', 'text\n');
    const path = await write('book/b.txt', GB2312);
    await expect(load(join(folder, 'book'))).rejects.toMatchObject({ code: 'not_utf8', message: expect.stringContaining(path) });
  });

  it.each([
    ['no file', undefined],
    ['no text file', 'cover.png'],
  ])('is refused with %s in it', async (_, name) => {
    await mkdir(join(folder, 'book'));
    if (name !== undefined) await write(`book/${name}`, Buffer.from('\x89PNG\r\n', 'latin1'));
    await expect(load(join(folder, 'book'))).rejects.toMatchObject({ code: 'empty' });
  });
});

describe('several texts separated by commas', () => {
  it('are one corpus in the given order, with named ones among them', async () => {
    const [a, b] = [await write('a.txt', 'A\n'), await write('b.txt', 'B')];
    const corpus = await load(`${b},${a}`);
    expect(corpus.text).toBe('B\nA\n');
    expect(corpus).toMatchObject({ name: 'b.txt+a.txt', files: 2, source: { kind: 'list' }, location: `${b},${a}` });
    const sonnets = await load('sonnets');
    const both = await load(`${a},sonnets`);
    expect(both.text).toBe(`A\n${sonnets.text}`);
    expect((await load(`${a},${b},${a},${b}`)).name).toBe('a.txt+b.txt+a.txt and 1 more');
  });

  it('are found again by their location when their folder has commas in its name', async () => {
    const a = await write('a,,b,/x.txt', 'x\n');
    const c = await write('c.txt', 'c\n');
    for (const named of [`${a.replaceAll(',', ',,')},${c}`, `${c},${a.replaceAll(',', ',,')}`]) {
      const corpus = await load(named);
      expect(corpus.files).toBe(2);
      expect((await load(corpus.location)).text).toBe(corpus.text);
    }
  });

  it('may be named from a folder with a comma in its name, and are found again from another', async () => {
    await write('one, two/x.txt', 'x\n');
    await write('one, two/y.txt', 'y\n');
    const here = process.cwd();
    process.chdir(join(folder, 'one, two'));
    const { location } = await load('x.txt,y.txt').finally(() => process.chdir(here));
    expect((await load(location)).text).toBe('x\ny\n');
  });

  it('are not taken for a list when a file has that name', async () => {
    expect((await load(await write('a,b.txt', 'comma\n'))).text).toBe('comma\n');
  });

  it('are refused when one of them is missing', async () => {
    const a = await write('a.txt', 'A\n');
    await expect(load(`${a},missing.txt`)).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringMatching(/folder missing\.txt and/),
    });
  });
});

describe('a large text', () => {
  it('is refused at once above the limit', async () => {
    const path = await write('a.txt', '');
    await truncate(path, LIMITS.corpusBytes + 1);
    await expect(load(path)).rejects.toMatchObject({ code: 'too_large' });
  });

  it('stops being read when the caller aborts', async () => {
    const path = await write('a.txt', 'text\n'.repeat(100_000));
    await expect(load(path, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
  });
});
