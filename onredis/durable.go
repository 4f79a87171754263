package onredis

const maxDurable = 64
