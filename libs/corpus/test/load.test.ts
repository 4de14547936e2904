import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createVocabulary } from '../src/index.js';
import { CATALOGUE, defaultCacheDir, loadCorpus, type Corpus, type CorpusEntry } from '../src/node/index.js';

const digest = (content: string) => createHash('sha256').update(content).digest('hex');
const PLAY = 'First Citizen:\nBefore we proceed any further, hear me speak.\n'.repeat(2000);
const BOOK =
  '\ufeffThe Project Gutenberg eBook\r\n*** START OF THE PROJECT GUTENBERG EBOOK ***\r\n\r\nFrom fairest\r\ncreatures\r\n\r\n*** END OF THE PROJECT GUTENBERG EBOOK ***\r\nlicence\r\n';

let folder: string;
let server: Server;
let requests: string[];
let answer: RequestListener;
let catalogue: CorpusEntry[];
let cacheDir: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'troupe-corpus-'));
  cacheDir = join(folder, 'cache', 'corpora');
  requests = [];
  answer = (request, response) => void response.end(request.url === '/book' ? BOOK : PLAY);
  server = createServer((request, response) => {
    requests.push(request.url ?? '');
    answer(request, response);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const common = { title: 'a title', licence: 'public domain' };
  catalogue = [
    {
      ...common,
      name: 'play',
      url: `${base}/play`,
      bytes: Buffer.byteLength(PLAY),
      sha256: digest(PLAY),
      fileNames: ['play-old.txt'],
    },
    { ...common, name: 'book', url: `${base}/book`, fileNames: ['pg.txt'], gutenberg: true },
  ];
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((closed) => server.close(closed));
  await rm(folder, { recursive: true, force: true });
});

const textOf = ({ vocabulary, tokens }: Corpus) => vocabulary.decode(tokens);
const load = async (name: string, options: Parameters<typeof loadCorpus>[1] = {}) =>
  loadCorpus(name, { catalogue, cacheDir, ...options }).then((corpus) => ({ ...corpus, text: textOf(corpus) }));
const cached = async () => (await readdir(cacheDir).catch(() => [])).sort();

describe('the embedded corpus', () => {
  it('is the 154 sonnets, without network or cache', async () => {
    const corpus = await load('sonnets', { catalogue: CATALOGUE, corpusDir: '/nowhere', cacheDir: '/nowhere' });
    expect(corpus.text.match(/^\d+$/gm)).toEqual(Array.from({ length: 154 }, (_, i) => `${i + 1}`));
    expect(corpus.text).toContain("Shall I compare thee to a summer's day?");
    expect(corpus.sha256).toBe(digest(corpus.text));
    expect(corpus.source.kind).toBe('embedded');
    expect(corpus.vocabulary.characters).toEqual(createVocabulary(corpus.text).characters);
    expect(corpus.vocabulary.size).toBeLessThan(90);
    expect(corpus.tokens).toBeInstanceOf(Uint8Array);
  });
});

describe('a named corpus with a pinned digest', () => {
  it('is downloaded once, with progress, and then comes from the cache', async () => {
    const progress: [number, number | undefined][] = [];
    const first = await load('play', { onProgress: (...at) => void progress.push(at) });
    expect(first).toMatchObject({ name: 'play', text: PLAY, sha256: digest(PLAY), source: { kind: 'download' } });
    expect(progress.at(-1)).toEqual([PLAY.length, PLAY.length]);
    expect((await load('play')).source.kind).toBe('cache');
    expect(requests).toEqual(['/play']);
    expect(await cached()).toEqual(['play.txt']);
  });

  it('is rejected, and leaves nothing behind, when its digest differs', async () => {
    answer = (_, response) => void response.end(PLAY.replace('speak', 'spoke'));
    await expect(load('play')).rejects.toMatchObject({ code: 'wrong_digest', message: expect.stringContaining(digest(PLAY)) });
    expect(await cached()).toEqual([]);
  });

  it('is downloaded again when the cached file is damaged', async () => {
    await mkdir(cacheDir, { recursive: true });
    await writeFile(join(cacheDir, 'play.txt'), PLAY.slice(5));
    expect((await load('play')).source.kind).toBe('download');
    expect(await readFile(join(cacheDir, 'play.txt'), 'utf8')).toBe(PLAY);
  });

  it('is searched in the corpus folder first, under any of its names', async () => {
    await writeFile(join(folder, 'play-old.txt'), PLAY);
    expect((await load('play', { corpusDir: folder })).source).toMatchObject({
      kind: 'folder',
      path: join(folder, 'play-old.txt'),
    });
    expect(requests).toEqual([]);
  });

  it('is rejected when the file in the corpus folder has another digest', async () => {
    await writeFile(join(folder, 'play.txt'), 'something else');
    await expect(load('play', { corpusDir: folder })).rejects.toMatchObject({
      code: 'wrong_digest',
      message: expect.stringContaining(digest('something else')),
    });
    expect(requests).toEqual([]);
  });

  it('prefers a file with the right digest over one with a wrong digest in the corpus folder', async () => {
    await writeFile(join(folder, 'play.txt'), 'something else');
    await writeFile(join(folder, 'play-old.txt'), PLAY);
    expect((await load('play', { corpusDir: folder })).text).toBe(PLAY);
  });

  it('is an error when the corpus folder does not exist', async () => {
    await expect(load('play', { corpusDir: join(folder, 'typo') })).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('a download that fails', () => {
  it('says how to proceed without a network', async () => {
    await new Promise((closed) => server.close(closed));
    await expect(load('play')).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('ECONNREFUSED'),
      remedy: expect.stringContaining('TROUPE_CORPUS_DIR'),
    });
    expect(await cached()).toEqual([]);
  });

  it('reports the HTTP status', async () => {
    answer = (_, response) => void response.writeHead(404).end('no');
    await expect(load('play')).rejects.toMatchObject({ code: 'unreachable', message: expect.stringContaining('404') });
  });

  it('leaves no partial file when the connection breaks', async () => {
    answer = (_, response) => {
      response.writeHead(200, { 'content-length': PLAY.length });
      response.write(PLAY.slice(0, 1000), () => response.destroy());
    };
    await expect(load('play')).rejects.toMatchObject({ code: 'unreachable' });
    expect(await cached()).toEqual([]);
  });

  it('fails when the server falls silent', async () => {
    answer = (_, response) => void response.write(PLAY.slice(0, 10));
    await expect(load('play', { stallMs: 50 })).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('50 ms'),
    });
    expect(await cached()).toEqual([]);
  });

  it('stops when the caller aborts', async () => {
    const caller = new AbortController();
    answer = (_, response) => void response.write(PLAY.slice(0, 10));
    const loading = load('play', { signal: caller.signal, onProgress: () => caller.abort() });
    await expect(loading).rejects.toMatchObject({ code: 'aborted' });
    expect(await cached()).toEqual([]);
  });

  it('stops a server that sends more than the corpus has', async () => {
    answer = (_, response) => void response.end(PLAY + PLAY);
    await expect(load('play')).rejects.toMatchObject({ code: 'too_large' });
    expect(await cached()).toEqual([]);
  });

  it('names the cache folder if it is not writable', async () => {
    await writeFile(join(folder, 'cache'), 'a file where the folder should be');
    await expect(load('play')).rejects.toMatchObject({ code: 'cannot_write', remedy: expect.stringContaining('XDG_CACHE_HOME') });
  });

  it('does not disturb another download of the same corpus', async () => {
    const both = await Promise.all([load('play'), load('play')]);
    expect(both.map(({ text }) => text)).toEqual([PLAY, PLAY]);
    expect(await cached()).toEqual(['play.txt']);
  });

  it('cleans up after a process that was killed while downloading', async () => {
    await mkdir(cacheDir, { recursive: true });
    await writeFile(join(cacheDir, '.play.1.part'), 'half');
    await utimes(join(cacheDir, '.play.1.part'), 0, 0);
    await writeFile(join(cacheDir, '.play.2.part'), 'another process, just now');
    await load('play');
    expect(await cached()).toEqual(['.play.2.part', 'play.txt']);
  });
});

describe('a corpus without a pinned digest', () => {
  it('is stored but not used until the user accepts its digest, and needs no flag afterwards', async () => {
    const accept = `--sha256 ${digest(BOOK)}`;
    await expect(load('book')).rejects.toMatchObject({ code: 'unpinned', remedy: expect.stringContaining(accept) });
    await expect(load('book')).rejects.toMatchObject({ code: 'unpinned', remedy: expect.stringContaining(accept) });
    const accepted = await load('book', { sha256: digest(BOOK).toUpperCase() });
    expect(accepted.text).toBe('From fairest\ncreatures\n');
    expect(accepted.sha256).toBe(digest(accepted.text));
    expect(accepted.source.sha256).toBe(digest(BOOK));
    expect((await load('book')).text).toBe(accepted.text);
    expect(requests).toEqual(['/book']);
  });

  it('is whole for everyone when several accept it at once', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => load('book', { sha256: digest(BOOK) })));
    expect(new Set(all.map(({ sha256 }) => sha256)).size).toBe(1);
    expect((await load('book')).source.kind).toBe('cache');
    expect(await cached()).toEqual(['book.txt', 'book.txt.sha256']);
  });

  it('is downloaded and used immediately when its digest is given', async () => {
    expect((await load('book', { sha256: digest(BOOK) })).source.kind).toBe('download');
    expect((await load('book')).source.kind).toBe('cache');
  });

  it('keeps the accepted file when a request for another digest fails', async () => {
    await load('book', { sha256: digest(BOOK) });
    await expect(load('book', { sha256: digest('other') })).rejects.toMatchObject({ code: 'wrong_digest' });
    expect((await load('book')).source.kind).toBe('cache');
  });

  it("is rejected when it lacks Project Gutenberg's lines, as a log-in page does", async () => {
    answer = (_, response) => void response.end('<html>Please log in</html>');
    await expect(load('book')).rejects.toMatchObject({ code: 'unexpected_content' });
    expect(await cached()).toEqual([]);
  });

  it('is taken from the corpus folder without an accepted digest', async () => {
    await writeFile(join(folder, 'pg.txt'), BOOK);
    expect((await load('book', { corpusDir: folder })).text).toBe('From fairest\ncreatures\n');
  });
});

describe('a path', () => {
  const file = async (content: string | Uint8Array) => {
    const path = join(folder, 'mine.txt');
    await writeFile(path, content);
    return path;
  };

  it('loads the text without a byte order mark and with LF line ends', async () => {
    const path = await file('\ufeffone\r\ntwo\n');
    expect(await load(path)).toMatchObject({
      name: 'mine.txt',
      text: 'one\ntwo\n',
      sha256: digest('one\ntwo\n'),
      source: { kind: 'file' },
    });
  });

  it.each([
    ['an empty file', '', 'empty', ''],
    ['a file of blanks', ' \n\n', 'empty', ''],
    ['NUL bytes', 'abc\0def', 'binary', 'byte 3'],
    ['Latin-1', Buffer.from('caf\u00e9 au lait', 'latin1'), 'not_utf8', 'byte 3 (0xe9)'],
    ['a sequence cut at the end', Buffer.from([0x61, 0xe2, 0x82]), 'not_utf8', 'byte 1 (0xe2)'],
    ['an overlong form', Buffer.from([0x61, 0x62, 0xc0, 0xaf]), 'not_utf8', 'byte 2 (0xc0)'],
    ['a surrogate', Buffer.from([0x61, 0xed, 0xa0, 0x80]), 'not_utf8', 'byte 1 (0xed)'],
    ['a code point over U+10FFFF', Buffer.from([0xf4, 0x90, 0x80, 0x80]), 'not_utf8', 'byte 0 (0xf4)'],
  ])('rejects %s', async (_, content, code, message) => {
    const path = await file(content);
    await expect(load(path)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });

  it('finds the first bad byte after valid text of every sequence length', async () => {
    const valid = Buffer.from('aé€😀'.repeat(100));
    const path = await file(Buffer.concat([valid, Buffer.from([0xff]), valid]));
    await expect(load(path)).rejects.toMatchObject({ message: expect.stringContaining(`byte ${valid.length} (0xff)`) });
  });

  it('to no file is an error that lists the named corpora', async () => {
    await expect(load(join(folder, 'missing'))).rejects.toMatchObject({
      code: 'not_found',
      remedy: expect.stringContaining('play, book'),
    });
  });

  it('to a device is rejected', async () => {
    await expect(load('/dev/null')).rejects.toMatchObject({ code: 'not_a_file' });
  });

  it('to a file is checked against a digest if one is given', async () => {
    const path = await file('hello');
    expect((await load(path, { sha256: digest('hello') })).text).toBe('hello');
    await expect(load(path, { sha256: digest('other') })).rejects.toMatchObject({ code: 'wrong_digest' });
    await expect(load(path, { sha256: 'abc' })).rejects.toMatchObject({ code: 'bad_digest' });
  });
});

describe('the catalogue', () => {
  it('has unique names, and a pinned digest or Gutenberg lines for every download', () => {
    expect(new Set(CATALOGUE.map(({ name }) => name)).size).toBe(CATALOGUE.length);
    for (const { url, sha256, gutenberg } of CATALOGUE.filter((entry) => entry.url !== undefined)) {
      expect(url).toMatch(/^https:/);
      expect(sha256 ?? gutenberg).toBeTruthy();
    }
  });

  it('places the cache under XDG_CACHE_HOME if that is an absolute path', () => {
    expect(defaultCacheDir({ XDG_CACHE_HOME: '/x' })).toBe('/x/troupe/corpora');
    expect(defaultCacheDir({ XDG_CACHE_HOME: 'x' })).toMatch(/\.cache\/troupe\/corpora$/);
    expect(defaultCacheDir({})).toMatch(/\.cache\/troupe\/corpora$/);
  });
});
