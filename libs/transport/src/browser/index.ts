export { browserRtc, type RtcPeerConstructor } from './rtc.js';
export { connectBrowser, type BrowserOptions } from './connect.js';
export { type BrowserSocket, type BrowserSocketConstructor } from './socket.js';
