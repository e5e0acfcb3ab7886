// Makes a database that Graphile Worker has worked in: its schema, and jobs in every state, brought there by its own API.
// Connects as the variables PGHOST, PGUSER and PGDATABASE say.
import { makeWorkerUtils, run, runOnce, Logger } from 'graphile-worker'
import pg from 'pg'

const later = new Date('2100-01-02T03:04:05.678Z') // When what is to be scheduled is due, whenever the tests run.
const pgPool = new pg.Pool()
const logger = new Logger(() => () => {})
const utils = await makeWorkerUtils({ pgPool, logger })
await utils.migrate()
const taskList = {
  fail: async () => { throw new Error('it went wrong: «naïve» "quoted"') },
  complete: async () => {},
  some: async payload => payload.map(n => n % 2 ? Promise.reject(new Error('odd')) : undefined),
}
const work = () => runOnce({ pgPool, taskList, logger })

// Worked: complete, failed once, failed three times, dead, a part of an array.
await utils.addJob('complete', {})
const once = await utils.addJob('fail', { n: 1 }, { maxAttempts: 5, priority: 3 })
const thrice = await utils.addJob('fail', { n: 2 }, { queueName: 'serial' })
await utils.addJob('fail', { n: 3 }, { maxAttempts: 1 })
const some = await utils.addJob('some', [1, 2, 3])
await work()
for (let i = 0; i < 2; i++) {
  await utils.rescheduleJobs([thrice.id], { runAt: new Date(0) })
  await work()
}
await utils.rescheduleJobs([once.id, some.id], { runAt: later })

// To be run.
await utils.addJob('email', { to: 'ann@example.com' })
await utils.addJob('email', { to: 'bob@example.com', text: 'Grüße, 世界 \u{1F600} </script> "\\\n', deep: [1.5e-7, null, true, []] },
  { priority: -5, maxAttempts: 3, flags: ['bulk', 'slow'] })
await utils.addJob('email', { to: 'later@example.com' }, { runAt: later })
await utils.addJob('email', { to: 'key@example.com' }, { jobKey: 'welcome:42' })
await utils.addJob('email', { to: 'dedupe@example.com' }, { jobKey: 'once', jobKeyMode: 'unsafe_dedupe' })
await utils.addJob('array', [1, 'two', { three: 3 }])
// JSON that PostgreSQL's json keeps as it is and jsonb does not, or not at all.
await pgPool.query(`select graphile_worker.add_job('exact', '{"b": 1.50,  "a": 1e2, "a": 12345678901234567890.123}')`)
await pgPool.query(`select graphile_worker.add_job('zero', '{"text": "\\u0000"}')`)
await pgPool.query(`select graphile_worker.add_job('null', 'null')`)
// Serial queues: by priority, then by time.
await utils.addJob('serial', { n: 2 }, { queueName: 'serial', runAt: new Date('2020-01-02') })
await utils.addJob('serial', { n: 1 }, { queueName: 'serial', runAt: new Date('2020-01-03'), priority: -1 })
await utils.addJob('serial', { n: 3 }, { queueName: 'serial', runAt: later })
await utils.addJob('serial', { n: 4 }, { queueName: 'other' })

// Running, alone and in a serial queue, as after a crash.
await utils.addJob('hang', { n: 1 })
await utils.addJob('hang', { n: 2 }, { queueName: 'busy' })
await utils.addJob('serial', { n: 5 }, { queueName: 'busy' })
let hanging = 0
await run({
  pgPool, logger, concurrency: 2, noHandleSignals: true, pollInterval: 50,
  taskList: { hang: () => { hanging++; return new Promise(() => {}) } },
  crontab: '0 4 * * * nightly ?id=nightly\n',
})
while (hanging < 2) await new Promise(resolve => setTimeout(resolve, 10))
process.exit(0)
