-- name: CreateAccount :one
insert into account (email) values ($1) returning id;

-- name: SetWelcomed :execrows
update account set welcomed = true where id = $1;
