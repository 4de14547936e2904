import { describe, expect, it } from 'vitest';
import { MessageBudget } from '../src/message-budget.js';

const RATE = { burst: 10, perSecond: 5 };

describe('a budget for messages', () => {
  it('lets a burst pass, and then one message for each refill', () => {
    const budget = new MessageBudget(RATE, 0);
    for (let i = 0; i < 10; i++) expect(budget.take(0)).toBe(0);
    expect(budget.take(0)).toBe(200);
    expect(budget.take(200)).toBe(200);
    expect(budget.take(400)).toBe(200);
  });

  it('is full again after a rest, and not fuller', () => {
    const budget = new MessageBudget(RATE, 0);
    for (let i = 0; i < 10; i++) budget.take(0);
    for (let i = 0; i < 10; i++) expect(budget.take(60_000)).toBe(0);
    expect(budget.take(60_000)).toBe(200);
  });

  it('never holds up the answers to what was asked', () => {
    const budget = new MessageBudget(RATE, 0);
    for (let round = 0; round < 20; round++) {
      budget.earn(1_000);
      for (let i = 0; i < 1_000; i++) expect(budget.take(round)).toBe(0);
    }
  });

  it('does not lose what was earned while time passes', () => {
    const budget = new MessageBudget(RATE, 0);
    budget.earn(100);
    for (let i = 0; i < 110; i++) expect(budget.take(i * 0.001)).toBe(0);
    expect(budget.take(0.11)).toBeGreaterThan(0);
  });

  it('does not count backwards when a clock does', () => {
    const budget = new MessageBudget(RATE, 1_000);
    for (let i = 0; i < 10; i++) budget.take(0);
    expect(budget.take(0)).toBe(200);
  });
});
