'use strict';
// One connection to the daemon: lines of JSON on a Unix socket.

const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

/** Bytes of one line at most, either way. */
const MAX_LINE = 16 * 1024 * 1024;

/** Where the daemon's socket is, unless it is said. */
function defaultSocket() {
  if (process.env.ATOLL_SOCKET) return process.env.ATOLL_SOCKET;
  const runtime = process.env.XDG_RUNTIME_DIR;
  return runtime ? path.join(runtime, 'atoll', 'daemon.sock') : path.join(os.homedir(), '.atoll', 'daemon.sock');
}

class Connection {
  /**
   * @param {string} socket the path of the daemon's socket
   * @param {{ message: (message: object) => void, close: (error?: Error) => void }} handlers
   */
  constructor(socket, handlers) {
    this.handlers = handlers;
    this.pieces = [];
    this.length = 0;
    this.error = undefined;
    this.socket = net.connect(socket);
    this.socket.on('data', (chunk) => this.received(chunk));
    this.socket.on('error', (error) => (this.error = error));
    this.socket.on('close', () => handlers.close(this.error));
  }

  send(message) {
    const line = JSON.stringify(message);
    if (line.length > MAX_LINE || Buffer.byteLength(line) > MAX_LINE) {
      throw Object.assign(new Error(`a message is larger than ${MAX_LINE} bytes`), { kind: 'too-large' });
    }
    this.socket.write(`${line}\n`);
  }

  close() {
    this.socket.destroy();
  }

  received(chunk) {
    let start = 0;
    for (let end; (end = chunk.indexOf(10, start)) >= 0; start = end + 1) {
      this.pieces.push(chunk.subarray(start, end));
      const line = this.pieces.length === 1 ? this.pieces[0] : Buffer.concat(this.pieces);
      this.pieces = [];
      this.length = 0;
      let message;
      try {
        message = JSON.parse(line.toString('utf8'));
      } catch (error) {
        this.socket.destroy(new Error(`the daemon does not keep to the protocol: ${error.message}`));
        return;
      }
      this.handlers.message(message);
    }
    if (start < chunk.length) {
      this.pieces.push(chunk.subarray(start));
      this.length += chunk.length - start;
      if (this.length > MAX_LINE) this.socket.destroy(new Error(`the daemon sent a line longer than ${MAX_LINE} bytes`));
    }
  }
}

module.exports = { Connection, defaultSocket };
