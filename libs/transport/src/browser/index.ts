export { browserRtc, type RtcPeerConstructor } from './rtc.js';
export { connectBrowser, type BrowserOptions } from './connect.js';
export { type BridgePort } from './rtc-bridge/messages.js';
export { serveRtcBridge, type RtcBridge } from './rtc-bridge/page.js';
export { bridgeRtcLinks } from './rtc-bridge/worker.js';
export { type BrowserSocket, type BrowserSocketConstructor } from './socket.js';
