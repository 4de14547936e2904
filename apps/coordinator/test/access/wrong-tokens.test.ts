import { createTokenGate } from '@troupe/conductor';
import { LIMITS, type ProtocolError } from '@troupe/protocol';
import { createMemoryPair } from '@troupe/transport/memory';
import type { RunEvent } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { slowToRefuse } from '../../src/access/gate.js';
import { createWrongTokens } from '../../src/access/wrong-tokens.js';

function open() {
  const clock = { nowMs: 0 };
  const slept: number[] = [];
  const notes: string[] = [];
  const wrongTokens = createWrongTokens({
    nowMs: () => clock.nowMs,
    sleep: async (ms) => void slept.push(ms),
    report: (event: RunEvent) => void (event.event === 'note' && notes.push(event.text)),
  });
  const show = async (times: number, address?: string): Promise<void> => {
    for (let i = 0; i < times; i++) await wrongTokens.counted(address);
  };
  return { clock, slept, notes, wrongTokens, show };
}

describe('wrong tokens', () => {
  it('are refused at once while they may be typing errors, and later one by one', async () => {
    const { slept, show } = open();
    await show(LIMITS.wrongTokensAtOnce, '10.0.0.1');
    expect(slept).toEqual([]);
    await show(3, '10.0.0.1');
    await show(1, '10.0.0.2');
    await show(2 * LIMITS.wrongTokensAtOnce);
    expect(slept).toEqual(Array(3).fill(LIMITS.wrongTokenMs));
  });

  it('are told in a log that grows with the logarithm of their number', async () => {
    const { notes, show } = open();
    await show(1_234, '10.0.0.1');
    await show(10);
    expect(notes).toEqual([
      expect.stringMatching(/^10 wrong tokens came from 10\.0\.0\.1$/),
      expect.stringMatching(/^100 wrong tokens /),
      expect.stringMatching(/^1,000 wrong tokens /),
      expect.stringMatching(/^10 wrong tokens came from this machine$/),
    ]);
  });

  it('are forgotten after a while', async () => {
    const { clock, slept, show } = open();
    await show(LIMITS.wrongTokensAtOnce, 'a');
    clock.nowMs += LIMITS.wrongTokensForgottenMs;
    await show(1, 'a');
    expect(slept).toEqual([]);
  });

  it('are counted for a limited number of addresses, of which those that go on stay', async () => {
    const { slept, show } = open();
    await show(LIMITS.wrongTokensAtOnce, 'a');
    await show(LIMITS.wrongTokensAtOnce, 'b');
    for (let i = 0; i < LIMITS.wrongTokenAddresses - 2; i++) await show(1, `10.0.${i}`);
    await show(1, 'a');
    await show(1, 'new');
    await show(1, 'a');
    expect(slept).toHaveLength(2);
    await show(1, 'b');
    expect(slept).toHaveLength(2);
  });

  it('at the gate delay no right one from the same address', async () => {
    const { slept, wrongTokens } = open();
    const gate = slowToRefuse(createTokenGate('right'), wrongTokens, { keyOf: () => '10.0.0.1' });
    const enter = async (token: string) => gate.admit({ token, kind: 'node' }, createMemoryPair()[0]);
    for (let i = 0; i <= LIMITS.wrongTokensAtOnce; i++)
      await expect(enter('wrong')).rejects.toMatchObject({ code: 'wrong_token' } satisfies Partial<ProtocolError>);
    expect(slept).toHaveLength(1);
    expect((await enter('right')).ended.aborted).toBe(false);
    expect(slept).toHaveLength(1);
  });
});
