// One end of a WebRTC link, in a process of its own. The parent sends the role and the options, then signals; this end reports what
// becomes of the link. Two of them carry a megabyte from the offering to the answering side.
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { answerRtc, offerRtc } from '@troupe/transport/webrtc';
import { findNodeRtc } from '@troupe/transport/webrtc-node';

const BYTES = 1024 * 1024;
const FRAME_BYTES = 256 * 1024;

const incoming = [];
let wake = () => {};
process.on('message', (message) => {
  incoming.push(message);
  wake();
});

async function next(abort) {
  while (incoming.length === 0) {
    abort?.throwIfAborted();
    await new Promise((resolve) => {
      wake = resolve;
      abort?.addEventListener('abort', resolve, { once: true });
    });
  }
  return incoming.shift();
}

const rtc = await findNodeRtc();
const { role, options } = await next();
const signalling = { send: (signal) => process.send({ signal }), receive: next };
try {
  const open = role === 'offer' ? offerRtc : answerRtc;
  const link = await open({ rtc, signalling, remote: 'the other side', ...options });
  const data = Buffer.alloc(BYTES, 'troupe');
  const hash = createHash('sha256');
  if (role === 'offer') {
    for (let at = 0; at < BYTES; at += FRAME_BYTES) link.send(new Uint8Array(data.subarray(at, at + FRAME_BYTES)));
    link.close('done');
    hash.update(data);
  } else for (let at = 0; at < BYTES; at += FRAME_BYTES) hash.update(await link.receive());
  process.send({ result: { digest: hash.digest('hex'), closed: await link.closed } });
} catch (error) {
  process.send({ result: { code: error.code, message: error.message, remedy: error.remedy } });
}
rtc.close();
process.disconnect();
