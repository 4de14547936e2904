import { describe, expect, it } from 'vitest';
import { readSettings } from '../src/settings.js';

const LINK = 'https://lab:7070/join/#token=linked';
const ADDRESS = 'wss://lab:7070/control';

describe('the settings of a worker', () => {
  it('take a name with "#" as a name', () => {
    const settings = readSettings(['--name', 'rack #2', 'ws://lab:7070', '--token', 't'], {});
    expect(settings).toMatchObject({ name: 'rack #2', address: 'ws://lab:7070/control', token: 't' });
  });

  it('take a token with "#" as a token, and no message repeats it', () => {
    expect(readSettings(['--token', 'a%zz#b', 'ws://lab:7070'], {}).token).toBe('a%zz#b');
  });

  it('take limits of what the coordinator may ask, also from the environment', () => {
    const env = { TROUPE_TOKEN: 't', TROUPE_ALLOW_REDUCE_HOST: 'Sums.Example, 10.0.0.2' };
    expect(readSettings(['ws://lab:7070', '--memory-limit', '1.5'], env)).toMatchObject({
      reduceHosts: ['sums.example', '10.0.0.2'],
      memoryLimit: 1.5,
    });
  });

  it.each([
    [['--name', 'gpu#1', LINK], {}, 'linked'],
    [[LINK], { TROUPE_TOKEN: 'environment' }, 'linked'],
    [[LINK, '--token', 'flag'], { TROUPE_TOKEN: 'environment' }, 'flag'],
    [['wss://lab:7070'], { TROUPE_TOKEN: 'environment' }, 'environment'],
  ])('of %j with %j have the token %s', (args, env, token) => {
    expect(readSettings(args, env)).toMatchObject({ address: ADDRESS, token });
  });

  it.each([
    [[], undefined],
    [['--credited'], { team: '' }],
    [['--credited', '--team', 'Room 214'], { team: 'Room 214' }],
  ])('with %j are credited as %j', (args, credited) => {
    expect(readSettings(['ws://a', ...args], { TROUPE_TOKEN: 't' }).credited).toEqual(credited);
  });

  it('refuse a team without a name in the credits', () => {
    expect(() => readSettings(['ws://a', '--team', 'x'], { TROUPE_TOKEN: 't' })).toThrow('--team is for workers in the credits.');
  });

  it.each([[[]], [['ws://a', 'ws://b']]])('of the addresses %j are refused', (args) => {
    expect(() => readSettings(args, { TROUPE_TOKEN: 't' })).toThrow('A worker needs one address.');
  });

  it('say when and how much of the machine the owner lends', () => {
    const lent = readSettings(['ws://a', '--share', '30', '--hours', '22:00-06:30', '--only-when-idle'], { TROUPE_TOKEN: 't' });
    expect(lent).toMatchObject({ share: 0.3, lending: { hours: { from: 1320, to: 390 }, onlyWhenIdle: true } });
    const all = readSettings(['ws://a'], { TROUPE_TOKEN: 't' });
    expect(all).toMatchObject({ share: 1, lending: { hours: undefined, onlyWhenIdle: false } });
  });

  it.each([
    [[], { limitBytes: undefined, rateMbit: undefined }],
    [['--traffic-limit', '250MB'], { limitBytes: 250e6, rateMbit: undefined }],
    [['--traffic-limit', '1.5 gb', '--rate-limit', '2.5'], { limitBytes: 1.5e9, rateMbit: 2.5 }],
  ])('with %j say how much may be sent and received', (args, traffic) => {
    expect(readSettings(['ws://a', ...args], { TROUPE_TOKEN: 't' }).traffic).toEqual(traffic);
  });

  const TLS = { cert: 'a.pem', key: 'b.pem' };
  const WITH_TLS = ['--tls-cert', 'a.pem', '--tls-key', 'b.pem'];

  it.each([
    ['ws://a', ['--listen', '7080'], { host: undefined, port: 7080, tls: undefined }],
    ['ws://a', ['--listen', '10.0.0.5:0'], { host: '10.0.0.5', port: 0, tls: undefined }],
    ['ws://a', ['--listen', '[::1]:7080'], { host: '[::1]', port: 7080, tls: undefined }],
    ['wss://a', ['--listen', 'lab-1.example:7080', ...WITH_TLS], { host: 'lab-1.example', port: 7080, tls: TLS }],
    ['wss://a', [], undefined],
  ])('of %s with %j say where other workers reach it', (address, args, listen) => {
    expect(readSettings([address, ...args], { TROUPE_TOKEN: 't' }).listen).toEqual(listen);
  });

  it.each([
    ['ws://a', ['--listen', 'lab-1'], '--listen lab-1 is not a port, or a host and a port such as 10.0.0.5:7080.'],
    ['ws://a', ['--listen', '65536'], '--listen 65536 names a port above 65535.'],
    ['ws://a', ['--listen', '7080', '--tls-cert', 'a.pem'], '--tls-cert and --tls-key belong together.'],
    ['ws://a', WITH_TLS, '--tls-cert is for workers that listen.'],
    ['wss://a', ['--listen', '7080'], 'The coordinator has a certificate, so links between workers need one as well.'],
    [LINK, ['--listen', '7080'], 'The coordinator has a certificate, so links between workers need one as well.'],
  ])('of %s refuse %j', (address, args, message) => {
    expect(() => readSettings([address, ...args], { TROUPE_TOKEN: 't' })).toThrow(message);
  });

  it.each([
    [['--share', '9'], '--share 9 is not a whole number from 10 to 100.'],
    [['--share', '30%'], '--share 30% is not a whole number'],
    [['--traffic-limit', '250'], '--traffic-limit 250 is not a size such as 250MB or 2GB.'],
    [['--traffic-limit', '0MB'], '--traffic-limit 0MB allows nothing.'],
    [['--rate-limit', '0'], '--rate-limit 0 is not a number from 0.1 to 100000.'],
    [['--rate-limit', '5', '--listen', '7080'], 'A worker that sums for others decides neither how much they send'],
    [['--traffic-limit', '2GB', '--webrtc'], 'A worker that sums for others decides neither how much they send'],
    [['--hours', '22-6'], '--hours 22-6 is not hours such as 22:00-06:30.'],
    [['--hours', '24:00-06:00'], '--hours 24:00-06:00 is not hours'],
    [['--hours', '07:00-07:00'], '--hours 07:00-07:00 ends when it begins.'],
  ])('refuse %j', (args, message) => {
    expect(() => readSettings(['ws://a', ...args], { TROUPE_TOKEN: 't' })).toThrow(message);
  });
});
