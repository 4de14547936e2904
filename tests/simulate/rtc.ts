/** WebRTC between simulated hosts: by signals, one side learns of a path that the other one listens on, and dials it. */
import { TransportError, type Connection } from '@troupe/transport';
import type { RtcLinks, Signalling } from '@troupe/transport/webrtc';
import type { Host } from './host.js';
import type { World } from './world.js';

export function simulatedRtc({ network }: World, host: Host): RtcLinks {
  let answers = 0;
  return {
    async offer({ signalling, signal }) {
      signalling.send({ type: 'offer', generation: 1, sdp: '' });
      return network.dial(host, await received(signalling, signal, 'answer'), signal);
    },
    async answer({ signalling, signal }) {
      await received(signalling, signal, 'offer');
      const path = `/rtc/${answers++}`;
      const link = new Promise<Connection>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(new TransportError('aborted', 'the attempt was given up', 'Try again.')));
        network.listen(host, path, async (connection) => {
          resolve(connection);
          await connection.closed;
        });
      });
      signalling.send({ type: 'answer', generation: 1, sdp: `sim://${host.name}${path}` });
      return link;
    },
  };
}

async function received(signalling: Signalling, signal: AbortSignal, type: string): Promise<string> {
  const message = (await signalling.receive(signal)) as { readonly type: string; readonly sdp: string };
  if (message.type === type) return message.sdp;
  throw new TransportError('refused', `${message.type} instead of ${type}`, 'Nothing to do.');
}
