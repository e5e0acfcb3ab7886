-- wraparound: a database that is near the end of its transaction ids.
select format('the oldest row of database %s is %s million %s old; the server stops accepting writes at 2100 million',
              d.datname, a.age / 1000000, a.what),
       'vacuum (freeze), as the owner of all tables; also end what holds back vacuum (check xmin)', a.age > 1600000000
from pg_database d,
     lateral (values ('transactions', age(d.datfrozenxid)), ('multixacts', mxid_age(d.datminmxid))) as a (what, age)
where d.datname = current_database() and a.age > 1000000000
