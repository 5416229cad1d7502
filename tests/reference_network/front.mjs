// The TLS front of the reference network: one port of this machine for all host names.
//
// What arrives goes on to the server that its Host stands for, by plain http, or by TLS to
// a proxy under test. Whatever this process itself asks for by https ends here as well,
// whatever its name and port: nothing leaves the machine, and neither root nor /etc/hosts
// is needed.
import dgram from 'node:dgram'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import tls from 'node:tls'

// `targetOf` gives port and `byTls` of the server behind a host, `answerFor` answers in its
// place; both may give nothing.
export async function startFront(pem, { targetOf, answerFor }) {
  const server = https.createServer({ cert: pem, key: pem }, (request, response) => {
    const host = String(request.headers.host ?? '').split(':')[0].toLowerCase()
    const own = answerFor(host, request.url.split('?')[0])
    if (own) {
      response.writeHead(own.status, { 'content-type': 'application/json' })
      return response.end(JSON.stringify(own.body))
    }
    const target = targetOf(host)
    if (!target) return response.writeHead(421).end()
    passOn(target, host, request, response)
  })
  await new Promise((done, failed) => server.once('error', failed).listen(0, done))
  leadHere(server.address().port)
  return server
}

function passOn({ port, byTls }, servername, request, response) {
  const { method, url: path } = request
  const headers = { ...request.headers, 'x-forwarded-proto': 'https' }
  const options = { host: '127.0.0.1', port, method, path, headers }
  // On a socket of its own, as a connection of https would be led back here.
  if (byTls) options.createConnection = () => tls.connect({ socket: net.connect(port, '127.0.0.1'), servername })
  const onward = http.request(options, (answer) => {
    response.writeHead(answer.statusCode, answer.rawHeaders)
    answer.pipe(response)
  })
  onward.on('error', () => (response.headersSent ? response.destroy() : response.writeHead(502).end()))
  request.pipe(onward)
}

function leadHere(port) {
  const { connect } = net.Socket.prototype
  tls.TLSSocket.prototype.connect = function (options, ...rest) {
    return connect.call(this, { ...options, host: '127.0.0.1', port }, ...rest)
  }
}

// A name server by which no name exists: handles are found by https.
export async function startNameServer() {
  const socket = dgram.createSocket('udp4', (question, peer) => {
    question[2] |= 0x80 // an answer
    question[3] = (question[3] & 0xf0) | 3 // NXDOMAIN
    socket.send(question, peer.port, peer.address)
  })
  await new Promise((done, failed) => socket.once('error', failed).bind(0, '127.0.0.1', done))
  return socket
}
