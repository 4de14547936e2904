import { expect, it } from 'vitest';
import { isLoopbackLink } from '../src/reading/reach.js';

it('tells links that only this machine can open', () => {
  for (const host of ['127.0.0.1:7070', '127.1.2.3', 'localhost:80', '[::1]:7070']) {
    expect(isLoopbackLink(`http://${host}/join/#token=a`), host).toBe(true);
  }
  for (const host of ['192.0.2.7:7070', 'lab.example', '[2001:db8::1]', '127.example.org', 'localhost.example.org']) {
    expect(isLoopbackLink(`https://${host}/join/`), host).toBe(false);
  }
  expect(isLoopbackLink('')).toBe(false);
});
