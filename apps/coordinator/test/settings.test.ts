import { CELL_NAMES, CELLS, type TrainingConfig } from '@troupe/config';
import { CELLS as MODEL_CELLS, checkEngineConfig } from '@troupe/model';
import { LIMITS } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import { resumeTraining } from '../src/resumed-config.js';
import { parseSettings } from '../src/settings.js';
import { openapi } from '../src/web/openapi.js';
import { PATHS } from '../src/web/path-names.js';

const V = 65;
const training = (...argv: string[]) => parseSettings(argv, {}).training(V);
const flags = (...argv: string[]) => parseSettings(argv, {}).given;
/** As a run resumes that was started with `stored`. */
const resumed = (stored: string[], ...argv: string[]) =>
  resumeTraining(training(...stored), parseSettings(argv, {}), 10, flags(...stored));
const resume = (stored: string[], ...argv: string[]) => resumed(stored, ...argv).config;
const refused = (message: RegExp) =>
  expect.objectContaining({ name: 'SettingsError', message: expect.stringMatching(message), remedy: expect.stringMatching(/./) });

describe('the cells', () => {
  it('are the same in the config, in the engines and in the names of models', () => {
    expect(CELLS).toEqual(MODEL_CELLS);
    expect(Object.keys(CELL_NAMES)).toEqual(MODEL_CELLS);
  });

  it.each(CELLS)('are the choices of --cell: %s', (cell) => {
    expect(training('--cell', cell).model.cell).toBe(cell);
  });
});

describe('the flags of a model', () => {
  it('give an LSTM with one-hot characters and no dropout by default', () => {
    const { model, forgetBias } = training();
    expect(model).toEqual({
      cell: 'lstm',
      layers: 1,
      hidden: 256,
      vocabulary: V,
      embedding: 0,
      tied: false,
      dropout: 0,
      dropoutOutput: 0,
      layerNorm: false,
    });
    expect(forgetBias).toBe(1);
  });

  it('set the fields of its config', () => {
    const { model, forgetBias } = training('--layers=2', '--embedding=64', '--dropout=0.25', '--forget-bias=0.5');
    expect(model).toMatchObject({ layers: 2, embedding: 64, tied: false, dropout: 0.25 });
    expect(forgetBias).toBe(0.5);
  });

  it('give a tied embedding the size of the hidden layer', () => {
    expect(training('--tied', '--hidden', '48').model).toMatchObject({ hidden: 48, embedding: 48, tied: true });
    expect(training('--tied', '--hidden', '48', '--embedding', '48').model).toMatchObject({ embedding: 48, tied: true });
  });

  it.each<[string, string[], RegExp]>([
    ['an unknown cell', ['--cell', 'xlstm'], /--cell xlstm is not one of lstm, gru, gru-reset-after, rnn-tanh, rnn-relu/],
    [
      'a tied embedding of another size',
      ['--tied', '--embedding', '64'],
      /^--embedding must be as large as hidden when tied; it is 64\.$/,
    ],
    ['a fractional embedding', ['--embedding', '1.5'], /--embedding 1\.5 is not a whole number/],
    ['an embedding over the limit', ['--embedding', String(LIMITS.embedding + 1)], /^--embedding must be a whole number/],
    ['a dropout of 1', ['--dropout', '1'], /^--dropout must be /],
    ['a dropout that is not a number', ['--dropout', 'much'], /--dropout much is not a number/],
    ['a forget bias for a GRU', ['--cell', 'gru', '--forget-bias', '2'], /--forget-bias is for --cell lstm/],
    ['a forget bias out of range', ['--forget-bias', '1000'], /^--forget-bias must be /],
  ])('are refused for %s, with the name of the flag', (_, argv, message) => {
    expect(() => training(...argv)).toThrow(refused(message));
  });

  it('give only models that engines accept', () => {
    const argv = [[], ['--tied', '--cell', 'gru'], ['--embedding', '8', '--dropout', '0.99', '--layers', '2']];
    for (const { model } of argv.map((flags) => training(...flags))) checkEngineConfig(model, { maxStreams: 4, maxWindow: 8 });
  });
});

describe('the flags of the pages', () => {
  it('default to a private run without a name and without an admin token', () => {
    const given = parseSettings([], {});
    expect(given).toMatchObject({ adminToken: undefined, public: false, allowedHosts: [], name: undefined, tensorboard: false });
  });

  it('come from the command line; the admin token also from the environment', () => {
    const argv = ['--public', '--allow-host=Train.example.org, other ,', '--name=A run', '--organizer=Ann', '--tensorboard'];
    const given = parseSettings(argv, { TROUPE_ADMIN_TOKEN: 'from-outside' });
    expect(given).toMatchObject({ public: true, name: 'A run', organizer: 'Ann', tensorboard: true, adminToken: 'from-outside' });
    expect(given.allowedHosts).toEqual(['train.example.org', 'other']);
    expect(parseSettings(['--admin-token=mine'], { TROUPE_ADMIN_TOKEN: 'other' }).adminToken).toBe('mine');
    expect(parseSettings([], { TROUPE_ADMIN_TOKEN: '' }).adminToken).toBeUndefined();
  });
});

describe('a flag by its former name', () => {
  it.each([[['--wire', 'fp32']], [['--wire=fp32']]])('is refused with the name of today: %j', (argv) => {
    expect(() => parseSettings(argv, {})).toThrow(
      expect.objectContaining({ message: 'the flag --wire is called --codec now', remedy: 'Give --codec fp32 instead.' }),
    );
  });
});

describe('tokens', () => {
  it('count as unset if they are empty in the environment', () => {
    const given = parseSettings([], { TROUPE_TOKEN: '', TROUPE_ADMIN_TOKEN: '', TROUPE_ALLREDUCE_TOKEN: '' });
    expect(given).toMatchObject({ token: undefined, adminToken: undefined, allreduceToken: undefined });
  });

  const unfit = ['a b', 'caf\u00e9', 'line\n', 'x'.repeat(LIMITS.tokenLength + 1)];

  it.each(unfit)('with characters that cannot be sent are refused: %j', (token) => {
    expect(() => parseSettings([`--token=${token}`], {})).toThrow(refused(/^--token .* is not a valid token/));
    expect(() => parseSettings([`--admin-token=${token}`], {})).toThrow(refused(/^--admin-token .* is not a valid token/));
    expect(() => parseSettings([], { TROUPE_ALLREDUCE_TOKEN: token })).toThrow(
      refused(/^TROUPE_ALLREDUCE_TOKEN is not a valid token/),
    );
  });

  it('of a run are not signed ones, which could then neither expire nor be revoked', () => {
    const signed = 'troupe_v1.e30.c2lnbmF0dXJl';
    for (const name of ['TROUPE_TOKEN', 'TROUPE_ADMIN_TOKEN', 'TROUPE_METRICS_TOKEN', 'TROUPE_ALLREDUCE_TOKEN'])
      expect(() => parseSettings([], { [name]: signed })).toThrow(refused(new RegExp(`${name} is a signed token`)));
    expect(() => parseSettings([`--token=${signed}`], {})).toThrow(refused(/^(?!.*e30)/));
  });

  it('for notifications are http or https, also from the environment, and no message repeats them', () => {
    expect(parseSettings([], { TROUPE_NOTIFY: 'https://chat.example/hooks/x' }).notify?.href).toBe(
      'https://chat.example/hooks/x',
    );
    expect(parseSettings([], { TROUPE_NOTIFY: '' }).notify).toBeUndefined();
    for (const url of ['ftp://host/secret', 'chat.example/secret', 'https://me:secret@host/']) {
      expect(() => parseSettings([`--notify=${url}`], {})).toThrow(/^(?!.*secret).*--notify/);
    }
  });

  it('for metrics must differ from the others, and are none by default', () => {
    expect(parseSettings([], {}).metricsToken).toBeUndefined();
    expect(parseSettings([], { TROUPE_METRICS_TOKEN: 'm' }).metricsToken).toBe('m');
    for (const other of ['--token=m', '--admin-token=m'])
      expect(() => parseSettings(['--metrics-token=m', other], {})).toThrow(/could do more/);
  });

  it('that are short are refused where other machines can try them', () => {
    const open = ['--host', '0.0.0.0'];
    for (const name of ['TROUPE_TOKEN', 'TROUPE_VOLUNTEER_TOKEN', 'TROUPE_ADMIN_TOKEN', 'TROUPE_METRICS_TOKEN']) {
      const env = { [name]: 'eleven-char' };
      expect(() => parseSettings(open, env)).toThrow(refused(new RegExp(`${name} has 11 characters`)));
      expect(() => parseSettings(['--behind-proxy'], env)).toThrow(refused(/has 11 characters/));
      expect(() => parseSettings([], env)).not.toThrow();
      expect(() => parseSettings(['--host', 'localhost'], env)).not.toThrow();
      expect(() => parseSettings(open, { [name]: 'twelve-chars' })).not.toThrow();
    }
  });

  it('of the run are no secret of an all-reduce service, which needs one', () => {
    const apart = ['--allreduce', 'ws://a:7071'];
    expect(() => parseSettings(apart, {})).toThrow(refused(/needs the secret of the service/));
    for (const name of ['TROUPE_TOKEN', 'TROUPE_VOLUNTEER_TOKEN', 'TROUPE_ADMIN_TOKEN', 'TROUPE_METRICS_TOKEN'])
      expect(() => parseSettings(apart, { [name]: 'one', TROUPE_ALLREDUCE_TOKEN: 'one' })).toThrow(
        refused(/equals a token of the run/),
      );
    expect(parseSettings(apart, { TROUPE_TOKEN: 'one', TROUPE_ALLREDUCE_TOKEN: 'two' }).allreduceToken).toBe('two');
  });

  it('of workers and admins must differ', () => {
    expect(() => parseSettings(['--token=one'], { TROUPE_ADMIN_TOKEN: 'one' })).toThrow(refused(/token of admins/));
  });
});

describe('--access-file and --cap-scale', () => {
  it('have defaults, and a scale of 0 turns the caps off', () => {
    expect(parseSettings([], {})).toMatchObject({ accessFile: 'runs/access.json', capScale: 1 });
    expect(parseSettings(['--access-file=keys.json', '--cap-scale=0'], {})).toMatchObject({
      accessFile: 'keys.json',
      capScale: 0,
    });
    for (const wrong of ['--access-file=', '--cap-scale=-1', '--cap-scale=many'])
      expect(() => parseSettings([wrong], {})).toThrow(refused(/is not a/));
  });
});

describe('--allreduce and --reducers', () => {
  const env = { TROUPE_ALLREDUCE_TOKEN: 'of-the-services' };
  it('name services, and count threads', () => {
    expect(parseSettings([], {})).toMatchObject({ allreduce: undefined, reducers: 0 });
    expect(parseSettings(['--allreduce', 'ws://a:1, wss://b/sum'], env).allreduce).toEqual(['ws://a:1', 'wss://b/sum']);
    expect(parseSettings(['--reducers', '3', '--behind-proxy'], {}).reducers).toBe(3);
  });

  const many = Array.from({ length: 2 + LIMITS.reducers }, (_, k) => `ws://host:${k + 1}`).join();

  it.each<[string[], RegExp]>([
    [['--allreduce', 'ws://a:1,http://b:2'], /http:\/\/b:2 is not the address of a service$/],
    [['--allreduce', 'ws://a:1,b:2'], / b:2 is not/],
    [['--allreduce', 'ws://a:1,ws://b:99999'], / ws:\/\/b:99999 is not/],
    [['--allreduce', 'ws://a:1,'], /one address is empty/],
    [['--allreduce', 'ws://a:1,ws://A:1/'], /names ws:\/\/A:1\/ twice/],
    [['--allreduce', many], /66 services/],
    [['--reducers', 'x'], /--reducers x is not a whole number/],
    [['--reducers', String(LIMITS.reducers + 1)], /--reducers 65 is too many/],
    [['--reducers', '1', '--allreduce', 'ws://a:1'], /--allreduce names another one/],
    [['--reducers', '1', '--tls-cert', 'a', '--tls-key', 'b'], /--tls-cert asks for it/],
  ])('are refused with a remedy: %j', (argv, message) => {
    expect(() => parseSettings(argv, env)).toThrow(refused(message));
  });

  it('are refused without the password in an address', () => {
    const problem = () => parseSettings(['--allreduce', 'ws://a:1,http://me:secret@b:2'], env);
    expect(problem).toThrow(expect.objectContaining({ message: expect.not.stringContaining('secret') }));
  });
});

describe('flags beside --resume', () => {
  const stored = ['--cell', 'gru', '--hidden', '64', '--tied', '--dropout', '0.5', '--layers', '2', '--seed', '9'];

  it('may repeat the settings of the run', () => {
    expect(resume(stored)).toEqual(training(...stored));
    expect(resume(stored, '--tied', '--embedding', '64', '--dropout', '.50', '--cell=gru')).toEqual(training(...stored));
  });

  it('may make the run longer', () => {
    const constant = [...stored, '--schedule', 'constant'];
    expect(resumed(constant, '--rounds', '9000')).toEqual({ config: { ...training(...constant), rounds: 9000 }, notes: [] });
    expect(() => resume(stored, '--rounds', '0')).toThrow(refused(/^--rounds must be /));
  });

  it('leave the learning rate as it was planned when they make the run longer or shorter, and say so', () => {
    const decayRounds = (...argv: string[]) =>
      (resume(['--rounds', '1000'], ...argv).schedule as { decayRounds: number }).decayRounds;
    expect(decayRounds('--rounds', '2000')).toBe(1000);
    expect(decayRounds('--rounds', '500')).toBe(1000);
    expect(decayRounds('--rounds', '1000')).toBe(0);
    expect(resumed(['--rounds', '1000'], '--rounds', '2000').notes).toEqual([
      'The run now has 2000 rounds, and the learning rate still reaches its final value at round 1000 and stays there. Add --lr-rounds 2000 to stretch the schedule over all rounds.',
    ]);
  });

  it('stretch the schedule when --lr-rounds says so', () => {
    expect(resumed(['--rounds', '1000'], '--rounds', '2000', '--lr-rounds', '2000')).toMatchObject({
      config: { rounds: 2000, schedule: { decayRounds: 2000 } },
      notes: [],
    });
    expect(() => resume(['--schedule', 'constant'], '--lr-rounds', '9')).toThrow(refused(/^--lr-rounds has no effect/));
  });

  it('change the learning rate and the clip norm, and say so', () => {
    const { config, notes } = resumed(['--lr', '0.01'], '--lr', '0.003', '--clip', '5');
    expect(config).toMatchObject({ learningRate: 0.003, clip: 5 });
    expect(notes).toEqual(['--lr is 0.003 from now on; it was 0.01.', '--clip is 5 from now on; it was 1.']);
  });

  it('do not undo what a person changed during the run when the command of the start is typed again', () => {
    const stored = { ...training('--lr', '0.01'), learningRate: 0.002 };
    const { config, notes } = resumeTraining(stored, { given: flags('--lr', '0.01') }, 10, flags('--lr', '0.01'));
    expect(config.learningRate).toBe(0.002);
    expect(notes).toEqual([expect.stringMatching(/^--lr stays at 0.002/)]);
  });

  it('are refused in a reproducible run if they would change its bits', () => {
    expect(() => resume(['--reproducible', '--lr', '0.01'], '--lr', '0.003')).toThrow(refused(/^--lr 0.003 differs/));
  });

  describe('that make its rounds local, or exact', () => {
    const EXACT = ['--rounds', '1000', '--ema', '0.99', '--warmup', '50'];

    it('let it end after as many characters, and say in one line what goes on and what does not', () => {
      const { config, notes } = resumed(EXACT, '--local-steps', '10', '--tracks', '4', '--outer-lr', '1', '--codec', 'int8-both');
      expect(config).toMatchObject({ localSteps: 10, tracks: 4, rounds: 109, outerLearningRate: 1, codec: 'int8-both' });
      expect(notes).toEqual([
        'From round 10 on, rounds are local, with 10 steps of 4 tracks each; until now they were exact. Parameters, averages, positions and ' +
          "states of the streams, history and credits go on. The optimizer's state fits only the other kind of round, so it starts afresh. " +
          'The run now ends at round 109 (it was 1000), and the learning rate goes on with the characters read. Gradients travel as int8-both; ' +
          'until now it was fp16.',
      ]);
      const back = resumeTraining(config, parseSettings(['--local-steps', '1'], {}), 20);
      expect(back.config).toMatchObject({ localSteps: 1, tracks: 0, rounds: 910 });
      expect(back.notes[0]).toMatch(
        /^From round 20 on, rounds are exact; until now they were local, with 10 steps of 4 tracks each/,
      );
    });

    it('keep the state of the outer optimizer when only their number of steps or tracks changes', () => {
      const { config, notes } = resumed(['--local-steps', '4', '--rounds', '100'], '--local-steps', '8');
      expect(config).toMatchObject({ localSteps: 8, tracks: 8, rounds: 55 });
      expect(notes[0]).toContain('averages, the optimizer, positions');
      expect(notes[0]).not.toContain('afresh');
      expect(resume(['--local-steps', '4'], '--tracks', '2')).toMatchObject({ localSteps: 4, tracks: 2 });
    });

    it('count as typed if they differ from those of the run, and follow the rounds if they are typed again', () => {
      expect(resume(EXACT, ...EXACT, '--local-steps', '10')).toEqual(resume(EXACT, '--local-steps', '10'));
      expect(resume(EXACT, '--local-steps', '10', '--rounds', '60', '--ema', '0.5')).toMatchObject({ rounds: 60, ema: 0.5 });
      const stretched = resume(EXACT, '--local-steps', '10', '--rounds', '60', '--lr-rounds', '60');
      expect(stretched.schedule).toMatchObject({ decayRounds: 510 });
    });

    it('may change what a person may change in a run, also in one that is reproducible', () => {
      const { config, notes } = resumed([...EXACT, '--reproducible'], '--local-steps', '10', '--lr', '0.5');
      expect(config).toMatchObject({ leaseStreams: 4, learningRate: 0.5 });
      expect(notes).toHaveLength(2);
      expect(() => resume(EXACT, '--local-steps', '10', '--seed', '2')).toThrow(refused(/^--seed 2 differs/));
    });

    it('change nothing when they are typed again in the run that they made', () => {
      const config = resume(EXACT, '--local-steps', '10');
      expect(resumeTraining(config, parseSettings(['--local-steps', '10'], {}), 30)).toMatchObject({ config, notes: [] });
    });

    describe('by the same command at every start', () => {
      const again = (start: string[], change: string[], ...later: [number, string[]][]) => {
        const settings = (argv: string[]) => parseSettings(argv, {});
        let last = resumeTraining(training(...start), settings([...start, ...change]), 500);
        const all = [last];
        for (const [round, argv] of later) {
          last = resumeTraining(last.config, settings(argv), round, new Map(), last.said);
          all.push(last);
        }
        return all;
      };

      it.each<[string, string[], string[]]>([
        ['--rounds', ['--rounds', '1500'], ['--local-steps', '32']],
        ['--lr-rounds', ['--rounds', '1500', '--lr-rounds', '1500'], ['--local-steps', '32']],
        ['--lr-rounds 0', ['--lr-rounds', '0'], ['--local-steps', '32', '--rounds', '2000']],
        ['--ema', ['--ema', '0.998'], ['--local-steps', '32']],
        ['--warmup', ['--rounds', '1500', '--local-steps', '32', '--warmup', '3'], ['--local-steps', '1']],
        [
          '--lr-step',
          ['--rounds', '1500', '--local-steps', '32', '--schedule', 'step', '--lr-step', '7'],
          ['--local-steps', '1'],
        ],
        [
          'what it changes',
          ['--rounds', '1500'],
          ['--local-steps', '32', '--rounds', '600', '--ema', '0.9', '--lr-rounds', '900'],
        ],
      ])('stay as they have become: %s', (_, start, change) => {
        const same = [...start, ...change];
        const [changed, ...later] = again(start, change, [501, same], [502, []], [503, same]);
        expect(changed.config.changedRound).toBe(500);
        for (const { config, said } of later) expect([config, said]).toEqual([changed.config, changed.said]);
      });

      it('follow the next change as well, and each says what has become of --rounds', () => {
        const start = ['--rounds', '1500', '--ema', '0.998', '--warmup', '30'];
        const eight = [...start, '--local-steps', '8'];
        const [, local, other, same] = again(
          start,
          ['--local-steps', '32'],
          [501, [...start, '--local-steps', '32']],
          [510, eight],
          [511, eight],
        );
        expect(local.notes).toEqual([
          '--rounds 1500 was said of the rounds before they changed, and has become 532. Another value changes it.',
          '--ema 0.998 was said of the rounds before they changed, and has become 0.937945. Another value changes it.',
        ]);
        expect(other.config).toMatchObject({ localSteps: 8, rounds: 598, ema: 0.984112 });
        expect(same.config).toEqual(other.config);
      });

      it('count as typed once they say something else, and again when a run goes back behind that', () => {
        const start = ['--rounds', '1500'];
        const longer = ['--rounds', '3000', '--local-steps', '32'];
        const [first, second, third] = again(start, ['--local-steps', '32'], [600, longer], [700, longer]);
        expect([second.config.rounds, third.config.rounds]).toEqual([3_000, 3_000]);
        const back = resumeTraining(first.config, parseSettings(longer, {}), 550, new Map(), first.said);
        expect(back.config.rounds).toBe(3_000);
        const shorter = resumeTraining(second.config, parseSettings(start, {}), 700, new Map(), second.said);
        expect(shorter.config.rounds).toBe(1_500);
        expect(() => resumeTraining(first.config, parseSettings(['--ema', '0.5'], {}), 550, new Map(), first.said)).toThrow(
          refused(/^--ema 0.5 differs/),
        );
      });

      it('are compared with the config where an older release has changed the rounds', () => {
        const { config } = resumed(EXACT, '--local-steps', '10');
        expect(resumeTraining(config, parseSettings(['--rounds', '200'], {}), 30).config.rounds).toBe(200);
        expect(() => resumeTraining(config, parseSettings(['--ema', '0.99'], {}), 30)).toThrow(refused(/^--ema 0.99 differs/));
      });
    });

    it('take the default of what only the other kind of round used, unless it is typed', () => {
      const old = { ...training(), outerLearningRate: 0.7, outerMomentum: 0.9 };
      const become = (stored: TrainingConfig, ...argv: string[]) => resumeTraining(stored, parseSettings(argv, {}), 10);
      const local = become(old, '--local-steps', '8').config;
      expect(local).toMatchObject({ outerLearningRate: 1, outerMomentum: 0.7, codec: 'fp16' });
      expect(become(old, '--local-steps', '8', '--outer-momentum', '0.9').config).toMatchObject({ outerMomentum: 0.9 });
      expect(become({ ...old, localSteps: 4, tracks: 8 }, '--local-steps', '8').config).toMatchObject({ outerMomentum: 0.9 });
      const both = { ...local, codec: 'int8-both' as const };
      const exact = become(both, '--local-steps', '1');
      expect(exact.config.codec).toBe('fp16');
      expect(exact.notes[0]).toMatch(/ Gradients travel as fp16; until now it was int8-both\.$/);
      expect(become(both, '--local-steps', '1', '--codec', 'int8-both').config.codec).toBe('int8-both');
      expect(become({ ...local, codec: 'fp32' }, '--local-steps', '1').config.codec).toBe('fp32');
    });

    it('let --rounds and --lr-rounds count rounds afterwards as before', () => {
      const config = resume(EXACT, '--local-steps', '10');
      const longer = resumeTraining(config, parseSettings(['--rounds', '200'], {}), 30);
      expect(longer.config.schedule).toEqual(config.schedule);
      expect(longer.notes[0]).toContain('at round 109 and stays there');
      const stretched = resumeTraining(config, parseSettings(['--rounds', '200', '--lr-rounds', '200'], {}), 30);
      expect(stretched.config.schedule).toMatchObject({ decayRounds: 10 + 190 * 10 });
    });

    it('are refused before the first round, with tracks that do not divide the batch, and without a window', () => {
      const at = (round: number, ...argv: string[]) => resumeTraining(training(...EXACT), parseSettings(argv, {}), round);
      expect(() => at(0, '--local-steps', '10')).toThrow(refused(/no complete round/));
      expect(() => at(9, '--local-steps', '10', '--tracks', '5')).toThrow(refused(/4 and 8 do/));
      expect(() => at(9, '--local-steps', '0')).toThrow(refused(/--local-steps 0/));
      expect(() => at(9, '--local-steps', '2000')).toThrow(refused(/^--local-steps must be/));
    });
  });

  it.each<[string[], RegExp]>([
    [['--cell', 'gru-reset-after'], /^--cell gru-reset-after differs from the run to resume, which has gru$/],
    [['--hidden', '128'], /^--hidden 128 differs from the run to resume, which has 64$/],
    [['--embedding', '32'], /^--embedding 32 differs .* has 64$/],
    [['--dropout', '0.25'], /^--dropout 0\.25 differs .* has 0\.5$/],
    [['--forget-bias', '2'], /^--forget-bias 2 differs .* has 1$/],
    [['--seed', '1'], /^--seed 1 differs .* has 9$/],
    [['--optimizer', 'sgd'], /^--optimizer sgd differs .* has adam$/],
  ])('are refused if they would change the run: %j', (argv, message) => {
    expect(() => resume(stored, ...argv)).toThrow(refused(message));
  });

  it('are refused for an optimizer or schedule that the run does not have', () => {
    expect(() => resume([], '--momentum', '0.9')).toThrow(refused(/^--momentum has no effect .* has optimizer adam$/));
    expect(() => resume(['--schedule', 'constant'], '--lr-final', '0.1')).toThrow(refused(/^--lr-final .* schedule constant$/));
    expect(resume(['--optimizer', 'sgd', '--momentum', '0.9'], '--momentum', '.9').optimizer).toMatchObject({ momentum: 0.9 });
  });

  it('are refused for a switch that the run was started without', () => {
    expect(() => resume([], '--tied')).toThrow(refused(/^the run to resume was started without --tied$/));
  });
});

it.each([
  ['--layers', '0', '--layers must be a whole number from 1 to 16; it is 0.'],
  ['--dropout', '1', '--dropout must be a number of at least 0 and below 1; it is 1.'],
])('%s %s is refused with a sentence that holds for every command', (flag, value, message) => {
  const problem = () => parseSettings([flag, value], {}).training(65);
  expect(problem).toThrow(expect.objectContaining({ message, remedy: expect.not.stringContaining('troupe coordinator') }));
});

describe('--path-prefix', () => {
  it.each([
    ['/troupe/', '/troupe'],
    ['lab/joined', '/lab/joined'],
    ['/', ''],
  ])('%s means "%s"', (text, prefix) => expect(parseSettings(['--path-prefix', text], {}).pathPrefix).toBe(prefix));

  it.each([...Object.values(PATHS), ...Object.keys(openapi.paths), '/join/ours'])(
    'is not %s, a path of the coordinator, since a proxy may strip it',
    (text) => {
      expect(() => parseSettings(['--path-prefix', text], {})).toThrow(refused(/is a path of the coordinator itself$/));
    },
  );
});
